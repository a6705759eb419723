"""The configuration file, read once, checked once. The only room with yaml and pydantic."""
