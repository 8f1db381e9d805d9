"""The physics of the house: identity, time, chance, money, errors, the Exchange and the ports.

Every room may know the kernel; the kernel knows the standard library and msgspec only, and never does I/O.
"""
