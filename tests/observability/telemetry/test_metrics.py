"""Metrics made from rows: counting units, buckets, bounds on series, and the text that is told."""

from __future__ import annotations

import math
import random
import shutil
import subprocess

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from andon.observability.exposition import expose, gather
from andon.observability.families import Family, Sample
from andon.observability.telemetry import mapping
from andon.observability.telemetry.outgoing import added, metrics_of, totals_of
from andon.observability.telemetry.requests import Checkpoint, RequestMetrics
from andon.observability.telemetry.vocabulary import Names, Served, Vocabulary
from tests.observability.telemetry.rows import outcome, refusal

NAMES = Names(
    endpoints=frozenset({"assistant"}),
    releases={"dummy/small": Served("dummy", "small")},
    teams=frozenset({"crew"}),
    keys=frozenset({"k1"}),
)


def metrics(**more: int) -> RequestMetrics:
    return RequestMetrics(Vocabulary(NAMES), **more)


def read(found: RequestMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the text format."""
    text, _ = expose(gather([found]), "")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
    }


def total(found: RequestMetrics, name: str, **labels: str) -> float:
    wanted = frozenset(labels.items())
    return sum(value for (one, has), value in read(found).items() if one == name and wanted <= has)


def test_requests_attempts_and_tokens_are_counted_once_each() -> None:
    found = metrics()
    found.take(
        [
            outcome(
                1, final=False, status=0, error_code="upstream_error", input_tokens=None, output_tokens=None
            ),
            outcome(1, attempt=1),
            outcome(2, status=502, error_code="upstream_error", provider_error=True, output_tokens=None),
            refusal(3),
            outcome(4, final=False, arm="shadow", input_tokens=None, output_tokens=None),
        ]
    )
    assert total(found, "andon_requests_total") == 3
    assert total(found, "andon_requests_total", status_class="2xx", error_type="") == 1
    assert (
        total(found, "andon_requests_total", status_class="4xx", error_type="rate_limited", release="") == 1
    )
    assert total(found, "andon_attempts_total") == 4
    assert total(found, "andon_attempts_total", arm="shadow") == 1
    assert total(found, "andon_attempts_total", status_class="none") == 1
    assert total(found, "andon_tokens_total", type="input") == 20
    assert total(found, "andon_tokens_total", type="output") == 5
    assert total(found, "andon_provider_errors_total") == 1
    assert total(found, "andon_team_requests_total", team="crew") == 3
    assert total(found, "http_server_request_duration_seconds_count") == 3
    assert total(found, "gen_ai_client_operation_duration_seconds_count") == 3


def test_generation_times_follow_the_conventions() -> None:
    found = metrics()
    found.take([outcome(1), outcome(2, stream=False), outcome(3, output_tokens=1)])
    assert total(found, "gen_ai_server_time_to_first_token_seconds_count") == 2
    assert total(found, "gen_ai_server_time_to_first_token_seconds_sum") == pytest.approx(0.04)
    # (0.1 - 0.02) / (5 - 1); one token has no time per further token
    assert total(found, "gen_ai_server_time_per_output_token_seconds_count") == 1
    assert total(found, "gen_ai_server_time_per_output_token_seconds_sum") == pytest.approx(0.02)
    assert total(found, "gen_ai_client_token_usage_count", gen_ai_token_type="input") == 3
    estimated = metrics()
    estimated.take([outcome(usage_source="estimated")])
    assert total(estimated, "gen_ai_client_token_usage_count") == 0
    assert total(estimated, "andon_tokens_total") == 15


def test_buckets_are_those_of_the_conventions() -> None:
    found = metrics()
    found.take([outcome()])
    bounds = {
        name.removesuffix("_bucket"): sorted(
            float(dict(labels)["le"]) for one, labels in read(found) if one == name and "le" in dict(labels)
        )
        for name, _ in read(found)
        if name.endswith("_bucket")
    }
    http = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, math.inf]
    generation = [
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, math.inf,
    ]  # fmt: skip
    tokens = [
        1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864, math.inf,
    ] * 2  # fmt: skip  # input and output
    assert bounds["http_server_request_duration_seconds"] == http
    assert bounds["gen_ai_client_operation_duration_seconds"] == generation
    assert bounds["gen_ai_client_token_usage"] == sorted(tokens)


def test_a_hundred_thousand_junk_names_do_not_grow_the_series() -> None:
    found = metrics()
    found.take([outcome(status=502, error_code="upstream_error"), outcome(), refusal()])
    chance = random.Random(7)

    def junk() -> str:
        return f"x{chance.getrandbits(60):x}"

    rows = [
        outcome(
            number, endpoint=junk(), release=junk(), team=junk(), key=junk(), arm=junk(), operation=junk(),
            error_code=f"Bad Name {junk()}", status=chance.randrange(0, 2000), features={junk(): 3},
        )
        for number in range(2_000)
    ]  # fmt: skip
    found.take(rows)
    before = len(read(found))
    for _ in range(49):
        for row in rows:
            row.endpoint, row.release, row.team, row.key, row.arm = (junk() for _ in range(5))
            row.operation, row.error_code, row.features = junk(), f"Bad Name {junk()}", {junk(): 3}
        found.take(rows)
    assert found.rows == 100_003
    assert len(read(found)) == before
    assert total(found, "andon_requests_total") == 100_003


def test_codes_that_look_like_codes_are_bounded_too() -> None:
    found = metrics()
    found.take(outcome(number, status=500, error_code=f"code_{number}") for number in range(5_000))
    kinds = {dict(labels)["error_type"] for name, labels in read(found) if name == "andon_requests_total"}
    assert len(kinds) == 201
    assert "_OTHER" in kinds


def test_a_family_beyond_its_bound_counts_under_other() -> None:
    found = metrics(series_max=5)
    found.take(outcome(number, status=500, error_code=f"code_{number}") for number in range(50))
    assert total(found, "andon_requests_total") == 50
    assert total(found, "andon_requests_total", endpoint="other") == 45
    assert total(found, "andon_metrics_series", family="andon_requests_total") == 6
    assert total(found, "andon_metrics_series_capped_total", family="andon_requests_total") == 45


ROWS = st.lists(
    st.builds(
        outcome,
        st.integers(1, 50),
        status=st.sampled_from([0, 200, 429, 499, 502]),
        final=st.booleans(),
        duration_us=st.none() | st.integers(0, 10**8),
        upstream_us=st.none() | st.integers(0, 10**8),
        output_tokens=st.none() | st.integers(0, 10**6),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(0, 40))
def test_counting_from_a_checkpoint_is_counting_from_the_beginning(rows: list[object], cut: int) -> None:
    whole, first, second = metrics(), metrics(), metrics()
    whole.take(rows)  # type: ignore[arg-type]
    first.take(rows[:cut])  # type: ignore[arg-type]
    saved = msgspec.json.decode(msgspec.json.encode(first.save(cut)), type=Checkpoint)
    second.load(saved)
    second.take(rows[cut:])  # type: ignore[arg-type]
    assert read(second) == pytest.approx(read(whole))


@settings(max_examples=40, deadline=None)
@given(ROWS, st.integers(0, 40))
def test_what_was_added_adds_up(rows: list[object], cut: int) -> None:
    found = metrics()
    found.take(rows[:cut])  # type: ignore[arg-type]
    before = totals_of(gather([found]))
    found.take(rows[cut:])  # type: ignore[arg-type]
    now = totals_of(gather([found]))
    deltas = {
        (frozenset(one.dimensions.items()), measure.name): measure
        for one in added(before, now)
        for measure in one.measures
    }
    finals = sum(1 for row in rows[cut:] if row.final)  # type: ignore[attr-defined]
    assert sum(m.value for (_, name), m in deltas.items() if name == "andon.requests") == finals
    for measure in deltas.values():
        assert len(measure.values) == len(measure.counts) <= 100


def test_openmetrics_where_the_scraper_asks_for_it() -> None:
    found = metrics()
    found.take([outcome(), refusal()])
    text, kind = expose(gather([found]), "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(text.decode())}
    assert {"andon_requests", "http_server_request_duration_seconds"} <= names


@pytest.mark.prometheus
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say() -> None:
    found = metrics()
    found.take([outcome(queue_us=3, guard_us=2, connect_us=9, tls_us=3, features={"age": 3}), refusal()])
    text, _ = expose(gather([found]), "")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


class Fixed:
    def __init__(self, *families: Family) -> None:
        self._families = families

    def families(self) -> tuple[Family, ...]:
        return self._families


class Broken:
    def families(self) -> tuple[Family, ...]:
        raise ValueError("a bug")


def test_sources_are_merged_and_a_broken_one_is_left_out() -> None:
    a = Family("andon_x_total", "counter", "X.", (Sample((("a", "1"),), 1),))
    b = Family("andon_x_total", "counter", "X.", (Sample((("a", "2"),), 2), Sample((("a", "1"),), 9)))
    other = Family("andon_x_total", "gauge", "not the same", (Sample((), 5),))
    text, _ = expose(gather([Fixed(a), Broken(), Fixed(b), Fixed(other)]), "")
    assert text.decode().splitlines() == [
        "# HELP andon_x_total X.",
        "# TYPE andon_x_total counter",
        'andon_x_total{a="1"} 1.0',
        'andon_x_total{a="2"} 2.0',
    ]


def test_names_for_opentelemetry() -> None:
    found = metrics()
    found.take([outcome(), outcome(2)])
    sent = {metric.name: metric for metric in metrics_of(gather([found]), 7, 9)}
    duration = sent["gen_ai.client.operation.duration"]
    assert (duration.unit, duration.kind, duration.start_ns) == ("s", "histogram", 7)
    (point,) = duration.points
    assert point.attributes == {
        "andon.endpoint": "assistant",
        "andon.release": "dummy/small",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "dummy",
        "gen_ai.request.model": "small",
    }
    assert len(point.counts) == len(duration.bounds) + 1
    assert sum(point.counts) == 2
    assert sent["andon_metrics_series"].start_ns == 9


def test_the_names_are_those_of_the_installed_conventions() -> None:
    """The pinned package of OpenTelemetry is the oracle: a renamed attribute fails here, not at a user's."""
    semconv = pytest.importorskip("opentelemetry.semconv")
    import importlib
    import pkgutil

    known: set[str] = set()
    for package in ("opentelemetry.semconv.attributes", "opentelemetry.semconv._incubating.attributes",
                    "opentelemetry.semconv.metrics", "opentelemetry.semconv._incubating.metrics"):  # fmt: skip
        room = importlib.import_module(package)
        for found in pkgutil.iter_modules(room.__path__):
            module = importlib.import_module(f"{package}.{found.name}")
            known |= {
                value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)
            }
    assert semconv is not None
    named = [one.name for one in mapping.ATTRIBUTES if one.stability != "andon"]
    named += [one.otel for one in mapping.INSTRUMENTS if one.stability != "andon"]
    named += list(mapping.LABELS.values())
    assert [name for name in named if name not in known] == []


def test_histograms_of_two_parts_under_one_name_keep_their_own_labels() -> None:
    one = Family("x_seconds", "histogram", "", (Sample((("release", "r"),), 1.0, ((1.0, 1),), 1),))
    two = Family("x_seconds", "histogram", "", (Sample((("target", "t"),), 2.0, ((1.0, 0),), 1),))
    text = expose([Family("x_seconds", "histogram", "", (*one.samples, *two.samples))], "")[0].decode()
    assert 'x_seconds_sum{release="r"} 1.0' in text
    assert 'x_seconds_sum{target="t"} 2.0' in text
    assert 'x_seconds_bucket{le="+Inf",target="t"} 1' in text
