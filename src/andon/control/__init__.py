"""Factory files, plan and apply, and the driver that makes desired state true.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
