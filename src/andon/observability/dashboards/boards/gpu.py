"""The board of GPUs: what devices do, whose work it is, what it yields.

Every panel says so where there is no GPU: a series called "no GPU" at 0, from `andon_gpus`, instead of an empty
picture that could as well be a broken scrape.
"""

from __future__ import annotations

from andon.observability.dashboards.boards.service import BY_ENDPOINT
from andon.observability.dashboards.expressions import ENDPOINT, rate, series, share, total
from andon.observability.dashboards.model import Board, Panel, Query, Row

_DEVICE = "hw_name, hw_id"
_COUNT = series("andon_gpus")
_BUSY = rate("andon_gpu_attributed_seconds_total")
_ENERGY = rate("andon_gpu_attributed_joules_total")
_WORK = 'endpoint!="unattributed"'
_OUTPUT = 'type="output"'


def or_none(what: str, label: str) -> str:
    """`what`, or one series at 0 whose label says that there is no GPU, where the factory counts none."""
    return f'{what} or label_replace(sum({_COUNT}) == 0, "{label}", "no GPU", "", "")'


def _devices(name: str, *, counts: bool = False) -> tuple[Query, ...]:
    reading = rate(name) if counts else series(name)
    return (Query(or_none(total(reading, _DEVICE), "hw_name"), "{{hw_name}} {{hw_id}}"),)


def _dcgm(name: str, *, counts: bool = False) -> tuple[Query, ...]:
    full = f"DCGM_FI_DEV_{name}"
    reading = rate(full) if counts else series(full)
    return (Query(or_none(total(reading, "modelName, gpu"), "modelName"), "{{modelName}} {{gpu}}"),)


_NOW = Row(
    "Devices",
    (
        Panel(
            title="GPUs",
            meaning="Devices that can be asked; 0 where there is no driver, library or device.",
            unit="short",
            shape="figure",
            width=6,
            height=5,
            queries=(Query(total(_COUNT)),),
        ),
        Panel(
            title="Mean utilisation",
            meaning="Share of time in which at least one kernel ran: 100 % is not yet a full GPU.",
            unit="percentunit",
            shape="figure",
            width=6,
            height=5,
            queries=(Query(or_none(f"avg({series('hw_gpu_utilization_ratio')})", "hw_name")),),
        ),
        Panel(
            title="Memory in use",
            meaning="Of all devices together.",
            unit="bytes",
            shape="figure",
            width=6,
            height=5,
            queries=(Query(or_none(total(series("hw_gpu_memory_usage_bytes")), "hw_name")),),
        ),
        Panel(
            title="Power",
            meaning="Of all devices together.",
            unit="watt",
            shape="figure",
            width=6,
            height=5,
            queries=(Query(or_none(total(series("hw_power_watts")), "hw_name")),),
        ),
        Panel(
            title="Utilisation",
            meaning="Share of time in which at least one kernel ran.",
            unit="percentunit",
            least=0,
            most=1,
            queries=_devices("hw_gpu_utilization_ratio"),
        ),
        Panel(
            title="Memory used",
            meaning="Share of each device's memory.",
            unit="percentunit",
            least=0,
            most=1,
            queries=_devices("hw_gpu_memory_utilization_ratio"),
        ),
        Panel(
            title="Memory traffic",
            meaning="Share of time in which memory was read or written.",
            unit="percent",
            queries=_dcgm("MEM_COPY_UTIL"),
        ),
        Panel(
            title="Power by device",
            meaning="As the device tells it.",
            unit="watt",
            queries=_devices("hw_power_watts"),
        ),
        Panel(
            title="Temperature",
            meaning="As the device tells it.",
            unit="celsius",
            queries=_devices("hw_temperature_celsius"),
        ),
        Panel(title="SM clock", meaning="In MHz.", unit="rotmhz", queries=_dcgm("SM_CLOCK")),
    ),
)

_WHOSE = Row(
    "Whose work",
    (
        Panel(
            title="Devices in use by endpoint",
            meaning="Busy GPU-seconds a second by in-flight share; the endpoints add up to the devices.",
            unit="short",
            stacked=True,
            queries=(Query(or_none(total(_BUSY, "endpoint"), "endpoint"), "{{endpoint}}"),),
        ),
        Panel(
            title="Unattributed",
            meaning="Share of busy GPU time in which nothing of this factory was in flight.",
            unit="percentunit",
            least=0,
            queries=(
                Query(
                    or_none(
                        share(rate("andon_gpu_attributed_seconds_total", 'endpoint="unattributed"'), _BUSY),
                        "endpoint",
                    )
                ),
            ),
        ),
        Panel(
            title="Energy by endpoint",
            meaning="Watts of the devices by in-flight share.",
            unit="watt",
            stacked=True,
            queries=(Query(or_none(total(_ENERGY, "endpoint"), "endpoint"), "{{endpoint}}"),),
        ),
        Panel(
            title="Tokens per GPU-second",
            meaning="Output tokens of the endpoints chosen above for each busy second of a device that they had: the "
            "figure that utilisation hides. Leave out endpoints of providers elsewhere.",
            unit="short",
            queries=(
                Query(
                    or_none(
                        f"{total(rate('andon_tokens_total', _OUTPUT, ENDPOINT))} / "
                        f"({total(rate('andon_gpu_attributed_seconds_total', _WORK, ENDPOINT))} > 0)",
                        "endpoint",
                    ),
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Requests per GPU-second",
            meaning="Requests of an endpoint for each busy second of a device that it had.",
            unit="short",
            queries=(
                Query(
                    or_none(
                        f"{total(rate('andon_overhead_seconds_count', ENDPOINT), 'endpoint')} / "
                        f"({total(rate('andon_gpu_attributed_seconds_total', _WORK, ENDPOINT), 'endpoint')} > 0)",
                        "endpoint",
                    ),
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            title="Energy per 1,000 requests",
            meaning="Of the devices, by in-flight share.",
            unit="joule",
            queries=(
                Query(
                    or_none(
                        f"1000 * {total(rate('andon_gpu_attributed_joules_total', _WORK, ENDPOINT), 'endpoint')} / "
                        f"({total(rate('andon_overhead_seconds_count', ENDPOINT), 'endpoint')} > 0)",
                        "endpoint",
                    ),
                    "{{endpoint}}",
                ),
            ),
        ),
    ),
)

_HEALTH = Row(
    "Health",
    (
        Panel(
            title="Memory errors",
            meaning="Uncorrected ECC errors a second: any is a reason to look.",
            unit="cps",
            queries=_dcgm("ECC_DBE_VOL_TOTAL", counts=True),
        ),
        Panel(
            title="Corrected memory errors",
            meaning="Corrected ECC errors a second.",
            unit="cps",
            queries=_dcgm("ECC_SBE_VOL_TOTAL", counts=True),
        ),
        Panel(
            title="PCIe replays",
            meaning="Packets sent again on the bus, a second.",
            unit="cps",
            queries=_dcgm("PCIE_REPLAY_COUNTER", counts=True),
        ),
        Panel(
            title="Told too late",
            meaning="In-flight seconds of long requests that were told after their interval had been counted.",
            unit="short",
            queries=(Query(or_none(total(rate("andon_gpu_late_seconds_total")), "endpoint")),),
        ),
    ),
)

GPU = Board(
    uid="andon-gpu",
    title="Andon / GPU",
    meaning="What devices do, whose work it is, what it yields; a host without one says so.",
    filters=BY_ENDPOINT,
    rows=(_NOW, _WHOSE, _HEALTH),
)
