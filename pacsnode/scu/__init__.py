"""What we ask of others: one file per service."""
