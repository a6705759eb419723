"""How fast pacsnode is beside Orthanc and dcmqrscp on this machine: python -m tests.benchmarks.

No part of the test suite: it asserts no times, only that nothing was lost.
"""
