"""The only room that knows third parties beyond what the core is built on.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
