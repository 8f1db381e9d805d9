"""What can be seen of the line: telemetry, live windows, objectives, alerts, quality, dashboards.

Views of the ledger only: nothing here is on a request's path, and a request never waits for any of it.
See ARCHITECTURE.md for where this room stands and whom it may know.
"""
