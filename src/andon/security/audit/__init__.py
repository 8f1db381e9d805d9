"""Audit: every change and decision as a leaf of a Merkle log that others can check without us.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
