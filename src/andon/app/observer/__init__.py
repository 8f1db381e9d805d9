"""The observer process and its parts: seals the log into tables, answers queries, takes facts and telemetry, watches.

Each part is wired in a file of its own; `assembly.py` lists them. Nothing here is on a request's path.
"""
