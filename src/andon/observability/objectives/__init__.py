"""Objectives: what a service promises, counted event by event over the ledger, and how fast its budget is spent.

Specs in `model`, what counts as an event in `counting`, windows and verdicts in `windows` and `verdicts`; counts come
from queries (`repository`) and from live tallies (`tallies`, `live`), which agree exactly.
"""
