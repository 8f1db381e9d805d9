"""Desired state and journal over SQL: resources, revisions, events, outbox, leases.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
