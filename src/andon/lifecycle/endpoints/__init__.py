"""Endpoints: the names that clients call, as people write them in factory files.

`model.py` holds the kind, `controller.py` turns it into deployments and rollouts. Never serves a request itself.
"""
