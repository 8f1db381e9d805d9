"""Deployments: model versions kept running in the wanted number.

Lifecycle writes the spec of the generated kind `Deployment`; this room starts, replaces and stops replicas and writes
its status. Everything that is decided is decided in `rules`.
"""
