"""Hostile input: every parser of the node fed with what no honest peer sends, and a live node fed
with mutated associations. `python -m tests.fuzz --help`; a small share of it is in the suite."""
