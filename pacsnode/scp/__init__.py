"""What we answer: one file per service, request in, answers out."""
