"""A node under a mixed load for a long time, whose memory, threads and descriptors must stay level:
python -m tests.soak --minutes 10. The suite runs some seconds of it."""
