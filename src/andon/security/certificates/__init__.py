"""Certificates: the factory's own authority, what TLS accepts, and how new certificates come into force.

Used by `app` when a process begins to listen or to call another. Private keys leave
this room as files of mode 0600 only.
"""
