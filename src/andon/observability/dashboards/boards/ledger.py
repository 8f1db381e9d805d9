"""The board of the ledger: is everything written, sealed, taken in and sent on, and how far behind is each.

From the gateway (the log) and the observer (tables, facts, telemetry), each its own job.
"""

from __future__ import annotations

from andon.observability.dashboards.expressions import highest, rate, series, top, total
from andon.observability.dashboards.model import Board, Panel, Query, Row

_LOG = Row(
    "Logs and tables",
    (
        Panel(
            title="Ledger lag",
            meaning="Age of the oldest row that is not yet on disk, at the gateway.",
            unit="s",
            queries=(Query(highest(series("andon_ledger_lag_seconds"), "instance"), "{{instance}}"),),
        ),
        Panel(
            title="Time of one sync",
            meaning="Mean time to make a batch of rows durable.",
            unit="s",
            queries=(
                # Joined by instance: the observer counts commits of its own under the same name.
                Query(
                    f"max by (instance) ({rate('andon_ledger_sync_seconds_total')} / on (job, instance) "
                    f"({rate('andon_ledger_commits_total')} > 0))",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            title="Not yet written",
            meaning="Bytes in the gateway's memory that wait for the disk.",
            unit="bytes",
            queries=(Query(total(series("andon_ledger_pending_bytes"), "instance"), "{{instance}}"),),
        ),
        Panel(
            title="Size of the logs",
            meaning="Segments on disk, sealed ones that are still kept included.",
            unit="bytes",
            stacked=True,
            queries=(Query(total(series("andon_log_bytes"), "log"), "{{log}}"),),
        ),
        Panel(
            title="Size of the tables",
            meaning="The latest version of each table.",
            unit="bytes",
            stacked=True,
            queries=(Query(total(series("andon_ledger_tables_bytes"), "table"), "{{table}}"),),
        ),
        Panel(
            title="Seal lag",
            meaning="How long the oldest closed segment waits for its tables.",
            unit="s",
            queries=(Query(highest(series("andon_ledger_seal_lag_seconds"), "log"), "{{log}}"),),
        ),
        Panel(
            title="Rows sealed",
            meaning="Rows written to the tables a second.",
            unit="cps",
            queries=(Query(total(rate("andon_ledger_sealed_rows_total"))),),
        ),
        Panel(
            title="Sealing in trouble",
            meaning="Damaged segments, and times that a table could not be written, a second. Both should stay at 0.",
            unit="cps",
            queries=(
                Query(total(rate("andon_ledger_quarantined_total")), "damaged segments"),
                Query(total(rate("andon_ledger_seal_failures_total")), "failed writes"),
            ),
        ),
        Panel(
            title="Segments",
            meaning="Segments on disk by log.",
            unit="short",
            queries=(Query(total(series("andon_log_segments"), "log"), "{{log}}"),),
        ),
    ),
)

_FACTS = Row(
    "Taken in",
    (
        Panel(
            title="Facts",
            meaning="Labels, feedback, KPI events, evaluations, spans and prices written a second.",
            unit="cps",
            stacked=True,
            queries=(Query(total(rate("andon_facts_total"), "kind"), "{{kind}}"),),
        ),
        Panel(
            title="Facts refused",
            meaning="A second, by reason.",
            unit="cps",
            queries=(Query(total(rate("andon_facts_refused_total"), "reason"), "{{reason}}"),),
        ),
        Panel(
            title="Facts told twice",
            meaning="Written before: told again, counted once.",
            unit="cps",
            queries=(Query(total(rate("andon_facts_duplicate_total"))),),
        ),
        Panel(
            title="OTLP taken in",
            meaning="Items kept a second, by signal.",
            unit="cps",
            width=12,
            queries=(Query(total(rate("andon_otlp_accepted_total"), "signal"), "{{signal}}"),),
        ),
        Panel(
            title="OTLP not kept",
            meaning="Items a second that the sender was told are rejected.",
            unit="cps",
            width=12,
            queries=(Query(total(rate("andon_otlp_rejected_total"), "signal"), "{{signal}}"),),
        ),
    ),
)

_OUT = Row(
    "Counted and sent on",
    (
        Panel(
            title="Rows counted",
            meaning="Outcomes that became metrics, a second.",
            unit="cps",
            queries=(Query(total(rate("andon_metrics_rows_total"))),),
        ),
        Panel(
            title="Series by family",
            meaning="Of the families made from rows: closed label sets keep them few.",
            unit="short",
            queries=(Query(top(total(series("andon_metrics_series"), "family")), "{{family}}"),),
        ),
        Panel(
            title="Rows out of the ordinary",
            meaning="Too late for the live windows, from a clock ahead, or read back at the start; a second.",
            unit="cps",
            queries=(Query(total(rate("andon_window_rows_total"), "kind"), "{{kind}}"),),
        ),
        Panel(
            title="Telemetry exported",
            meaning="Spans, records and documents that a backend took, a second.",
            unit="cps",
            queries=(Query(total(rate("andon_telemetry_exported_total"), "exporter"), "{{exporter}}"),),
        ),
        Panel(
            title="Telemetry lag",
            meaning="Age of the oldest row that is not sent; 0 at the end of the log.",
            unit="s",
            queries=(Query(highest(series("andon_telemetry_lag_seconds"), "exporter"), "{{exporter}}"),),
        ),
        Panel(
            title="Telemetry not sent",
            meaning="Refused by a backend, too old, or sent again; a second.",
            unit="cps",
            queries=(
                Query(total(rate("andon_telemetry_rejected_total"), "exporter"), "rejected {{exporter}}"),
                Query(total(rate("andon_telemetry_skipped_total"), "exporter"), "skipped {{exporter}}"),
                Query(total(rate("andon_telemetry_retries_total"), "exporter"), "again {{exporter}}"),
            ),
        ),
    ),
)

LEDGER = Board(
    uid="andon-ledger",
    title="Andon / Ledger",
    meaning="Is everything written, sealed, taken in and sent on, and how far behind is each?",
    rows=(_LOG, _FACTS, _OUT),
)
