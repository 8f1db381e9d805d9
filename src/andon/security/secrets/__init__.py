"""Secrets: envelopes, the keys that wrap them, values under versions, leases of gateways, sealed bodies.

Nothing here is on a request's path; values are held in memory or sealed, never in plain on a disk.
"""
