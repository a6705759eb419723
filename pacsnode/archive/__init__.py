"""Storage and index together: the only door to the instances of the node."""
