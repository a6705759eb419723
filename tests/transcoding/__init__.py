"""Pixels through every pair of transfer syntaxes, and what other programs make of them. The table:
python -m tests.transcoding"""
