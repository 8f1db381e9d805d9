"""Model formats, the replica server, and the executors that keep replicas running.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
