"""Public fakes and the seeded simulator: a virtual clock, faults at every port, a dummy provider.

See ARCHITECTURE.md for where this room stands and whom it may know.
"""
