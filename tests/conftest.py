"""Tests run what the gateway would run: the compiled hot path where there is one, the same sources where not."""

from __future__ import annotations

import os

import pytest

from andon.app import compiled

STATE = compiled.use(os.environ)


def pytest_report_header() -> str:
    return f"hot path: interpreted ({STATE})" if STATE else "hot path: compiled"


@pytest.fixture(scope="session")
def is_compiled() -> bool:
    """Whether this run imports the compiled form."""
    return not STATE
