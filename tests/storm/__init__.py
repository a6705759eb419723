"""kill -9 at random moments while eight associations store, others query and retrieve, and studies
are deleted: python -m tests.storm --kills 200. The suite runs a few of them."""
