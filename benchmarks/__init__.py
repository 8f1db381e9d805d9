"""Proofs: each module is one `make prove NAME=…`, prints a table and, as its last line, one JSON object.

Everything compared is measured in one run, in turns, on the same cores; the server under test has core 0 to itself.
"""
