"""Vault and OpenBao: secrets of others, read over their HTTP API.

Blocking; used by control and observer in threads, loaded only where a setting names a server.
"""
