"""Dashboards as code: what each board shows (`boards`), written down for Grafana (`grafana`), checked (`lint`).

Boards are data over the families that `/metrics` offers. Nothing here runs in a process of the factory: the command
line loads it to write files, and a proof runs every expression against a real Prometheus.
"""
