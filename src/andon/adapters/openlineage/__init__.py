"""Backends of OpenLineage: where Andon's own events go."""
