"""Drift: how far what comes in now is from a reference profile, what of it is noise, and what it does to quality.

`columns.py` says what columns are, `profile.py` sketches them, `distances.py` compares sketches, `budget.py` decides
which distances are alarms, `impact.py` ranks them. Pure and vectorised; the ledger is read in `repository.py`.
"""
