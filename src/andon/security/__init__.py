"""Who calls and how much they may: keys and limits.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
