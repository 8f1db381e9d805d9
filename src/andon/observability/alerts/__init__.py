"""Alerts: rules over the ledger and what is measured now, told to people once, and tried on history beforehand.

The rules of state, grouping, silence and delivery are pure; `evaluating`, `keeping` and `delivery` meet the world.
"""
