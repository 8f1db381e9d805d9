"""Providers: upstreams that others run, spoken to by URL, with their own health checks.

A provider is a target like a replica is; what differs is that nobody here can restart it.
"""
