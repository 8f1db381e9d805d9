"""Backends of OpenLineage: where Andon's own events go.

Blocking clients for threads; they hold nothing back and decide nothing about what is sent.
"""
