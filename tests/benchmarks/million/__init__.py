"""A million studies: an index of that size without files, and what a node does with it."""
