"""How the control database came to its shape, step by step, as Alembic runs it.

Opened by `store.schema` only when the database is not at the head; each step is one file in `versions`, never edited
after a release.
"""
