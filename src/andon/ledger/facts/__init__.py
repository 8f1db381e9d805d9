"""Facts: what became known after a request was answered. Append-only, each about a request, a unit or a model.

Their log, tables and views are those of the rows; a fact is never changed, only followed by a newer one.
"""
