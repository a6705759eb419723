"""What storm and soak have in common: instances by the thousand, and who remembers which of them
the node must have."""
