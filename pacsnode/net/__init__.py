"""Associations, in and out: the wire. The only room with pynetdicom."""
