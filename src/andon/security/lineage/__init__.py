"""Lineage: from data sets to the answers that were made from them, and back. OpenLineage in and out.

`reading` and `folding` turn events into a graph, `native` adds what Andon knows itself, `walking` asks.
"""
