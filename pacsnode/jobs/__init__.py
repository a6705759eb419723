"""Work that outlives the request that caused it, with retries: across restarts, and shared by all
processes of a node. What is to be done is in the index; a runner in each process does it."""

from pacsnode.jobs.runner import Job, Runner

__all__ = ["Job", "Runner"]
