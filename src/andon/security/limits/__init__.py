"""Ceilings on requests, tokens and concurrency for each key, team and endpoint.

The gateway's second stage reserves before anything is spent and settles to what was really used.
"""
