"""`andon top`: one look at 100 columns, trouble first."""

from __future__ import annotations

from typing import Any

import pytest

from andon.app.cli import main
from andon.app.cli.top import latency, render, shorten


def item(endpoint: str, **fields: Any) -> dict[str, Any]:
    return {
        "endpoint": endpoint,
        "release": f"{endpoint}@12",
        "arm": "stable",
        "requests": 60_000,
        "requests_per_s": 1000.0,
        "attempts": 60_000,
        "errors": 0,
        "error_rate": 0.0,
        "refused": 0,
        "cancelled": 0,
        "p50_ms": 0.85,
        "p95_ms": 12.34,
        "p99_ms": 45_678.0,
        "first_token_p95_ms": 345.0,
        "tokens": 123_456_789,
        "tokens_per_s": 2_057_613.0,
        "in_flight": 1024,
        "weight": 0.95,
        **fields,
    }


def test_it_fits_into_a_hundred_columns_whatever_the_names() -> None:
    items = [item("a-very-long-endpoint-name-that-somebody-gave-to-it"), item("credit", error_rate=0.123)]
    lines = render(items).splitlines()
    assert max(len(line) for line in lines) <= 100
    assert lines[1].startswith("a-very-…e-to-it")
    assert "a-very-long-endpoint-name-that-somebody-gave-to-it" in render(items, in_full=True)


def test_trouble_is_coloured_and_said() -> None:
    bad, worried, good = render(
        [item("a", error_rate=0.2), item("b", error_rate=0.02), item("c")], colour=True
    ).splitlines()[1:]
    assert bad.startswith("\x1b[31m")
    assert "20.0%" in bad
    assert worried.startswith("\x1b[33m")
    assert not good.startswith("\x1b")


def test_what_nobody_knows_is_a_dash() -> None:
    unknown = item("a", in_flight=None, weight=None, error_rate=None, p50_ms=None, tokens=0)
    assert render([unknown]).splitlines()[1].split()[3:] == [
        *("1000", "-", "-", "12ms", "46s", "345ms", "-", "-", "-"),
    ]
    assert render([]) == "Nothing here."


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, "-"), (0.004, "4us"), (0.85, "850us"), (1.25, "1.2ms"), (340.2, "340ms"), (4500, "4.5s"),
     (99_000, "99s"), (720_000, "12m")],
)  # fmt: skip
def test_latencies_are_short_and_have_a_unit(milliseconds: float | None, text: str) -> None:
    assert latency(milliseconds) == text


def test_a_short_name_stays() -> None:
    assert shorten("credit", 6) == "credit"
    assert len(shorten("credit-card", 6)) == 6


def test_an_unknown_order_is_refused(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".andon").mkdir()
    (tmp_path / ".andon" / "admin.key").write_text("x")
    words = ["--home", str(tmp_path), "--url", "http://127.0.0.1:1", "top", "--sort", "size"]
    assert main.run(words) == 1
    assert "trouble, rate, latency, name" in capsys.readouterr().err
