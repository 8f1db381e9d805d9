"""The steps, oldest first by name.

Each names the step before it; Alembic finds them by their place in this folder, nothing imports them.
"""
