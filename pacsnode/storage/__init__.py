"""Instances as bytes under UIDs. Knows no attributes."""
