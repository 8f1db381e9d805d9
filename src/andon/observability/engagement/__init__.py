"""Engagement: what people did with answers, per release; and what features cost in time.

Views of the ledger only: nothing is kept here.
"""
