"""Telemetry out: spans, log records and metrics as projections of the ledger.

Nothing here is on a request's path: exporters follow the log on disk with a durable position of their own.
"""
