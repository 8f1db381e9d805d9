"""The data plane: ingress, dialects, dispatch and egress of one exchange.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
