"""Rollouts: how one release takes over from another, and how it is stopped when it is worse.

`stage.py` routes and judges in the gateway, `rules.py` decides in control; both read the verdicts of `gates.py`.
Never knows another sibling room: it meets serving through `Deployment` resources and the gateway through ports.
"""
