"""Which instances there are. Knows no files. The only room with peewee."""
