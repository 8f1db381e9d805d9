"""Who calls, and how much: API keys and limits.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
