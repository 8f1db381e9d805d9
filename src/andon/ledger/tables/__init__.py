"""Tables: the sealed part of the ledger as Delta tables, and queries over them and the unsealed tail together.

A projection of the log: everything here can be removed and made again from the segments.
"""
