"""Endpoints, releases and rollouts: how a version reaches traffic and how it is stopped.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
