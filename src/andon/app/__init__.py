"""The composition root: settings, wiring, the gateway's chain on one screen, supervisor and command line.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
