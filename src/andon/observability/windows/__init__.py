"""Live windows: what each endpoint, release and arm did lately, in memory.

`service.py` is the port that alerts, objectives and the command line read.
"""
