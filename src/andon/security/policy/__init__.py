"""Policies: what may be done by whom, in Cedar, on both planes.

The port is `kernel/access`; whoever asks never learns which language the answer was written in.
"""
