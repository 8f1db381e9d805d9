"""What happened: the append-only log of requests, one row per attempt.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
