"""The protocols that clients speak: how each is read, how each is refused, how its answers are understood.

Pure functions over bytes; they know no stage, no target and no socket.
"""
