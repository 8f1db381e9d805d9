"""Executors: where replicas run. One port, a local one of detached processes, a fake one in `andon.testing`.

An executor does what it is told and says what it sees; what should run is decided in `serving/deployments`.
"""
