"""The board of infrastructure: the host, its disks and networks, and the processes of the factory.

As the observer measures them; names are those of OpenTelemetry.
"""

from __future__ import annotations

from andon.observability.dashboards.expressions import highest, rate, series, total
from andon.observability.dashboards.model import Board, Panel, Query, Row

_PROCESS = "role, name"
_NAME = "{{role}} {{name}}"
_FULL = ((0, "green"), (0.8, "orange"), (0.9, "red"))

_HOST = Row(
    "Host",
    (
        Panel(
            title="Processors in use",
            meaning="By mode; the sum of all modes is the number of processors.",
            unit="short",
            stacked=True,
            queries=(
                Query(
                    total(rate("system_cpu_time_seconds_total", 'cpu_mode!="idle"'), "cpu_mode"),
                    "{{cpu_mode}}",
                ),
            ),
        ),
        Panel(
            title="Load",
            meaning="Runnable threads against processors.",
            unit="short",
            queries=(
                Query(highest(series("system_cpu_load_average_1m")), "1 min"),
                Query(highest(series("system_cpu_load_average_15m")), "15 min"),
                Query(highest(series("system_cpu_logical")), "processors"),
            ),
        ),
        Panel(
            title="Memory",
            meaning="By state.",
            unit="bytes",
            stacked=True,
            queries=(
                Query(
                    total(series("system_memory_usage_bytes"), "system_memory_state"),
                    "{{system_memory_state}}",
                ),
            ),
        ),
        Panel(
            title="Memory available",
            meaning="What new work could have without swapping.",
            unit="bytes",
            queries=(
                Query(total(series("system_memory_available_bytes")), "available"),
                Query(total(series("system_memory_limit_bytes")), "all"),
            ),
        ),
        Panel(
            title="File systems",
            meaning="Used over what can be used; the one that holds the ledger stops new rows when it is full.",
            unit="percentunit",
            shape="bars",
            least=0,
            most=1,
            steps=_FULL,
            queries=(
                Query(
                    highest(
                        series("system_filesystem_utilization_ratio"),
                        "system_filesystem_mountpoint, holds_ledger",
                    ),
                    "{{system_filesystem_mountpoint}}",
                ),
            ),
        ),
        Panel(
            title="Room for the ledger",
            meaning="Free space where the ledger is.",
            unit="bytes",
            queries=(
                Query(
                    total(
                        series(
                            "system_filesystem_usage_bytes",
                            'holds_ledger="true"',
                            'system_filesystem_state="free"',
                        )
                    )
                ),
            ),
        ),
        Panel(
            title="Network",
            meaning="By interface and direction.",
            unit="Bps",
            queries=(
                Query(
                    total(
                        rate("system_network_io_bytes_total"), "network_interface_name, network_io_direction"
                    ),
                    "{{network_interface_name}} {{network_io_direction}}",
                ),
            ),
        ),
        Panel(
            title="Network errors",
            meaning="Errors and dropped packets a second.",
            unit="cps",
            queries=(
                Query(total(rate("system_network_errors_total")), "errors"),
                Query(total(rate("system_network_packet_dropped_total")), "dropped"),
            ),
        ),
        Panel(
            title="Disks",
            meaning="By device and direction.",
            unit="Bps",
            queries=(
                Query(
                    total(rate("system_disk_io_bytes_total"), "system_device, disk_io_direction"),
                    "{{system_device}} {{disk_io_direction}}",
                ),
            ),
        ),
    ),
)

_PROCESSES = Row(
    "Processes of the factory",
    (
        Panel(
            title="Processor",
            meaning="Processors in use.",
            unit="short",
            queries=(Query(total(rate("andon_process_cpu_seconds_total"), _PROCESS), _NAME),),
        ),
        Panel(
            title="Memory held",
            meaning="Resident memory.",
            unit="bytes",
            queries=(Query(total(series("andon_process_resident_memory_bytes"), _PROCESS), _NAME),),
        ),
        Panel(
            title="Age",
            meaning="Time since its start: a saw is a process that dies.",
            unit="s",
            queries=(
                Query(f"time() - {highest(series('andon_process_start_time_seconds'), _PROCESS)}", _NAME),
            ),
        ),
        Panel(
            title="Open files",
            meaning="Files and sockets.",
            unit="short",
            width=12,
            queries=(Query(total(series("andon_process_open_fds"), _PROCESS), _NAME),),
        ),
        Panel(
            title="Threads",
            meaning="By process.",
            unit="short",
            width=12,
            queries=(Query(total(series("andon_process_threads"), _PROCESS), _NAME),),
        ),
    ),
)

INFRASTRUCTURE = Board(
    uid="andon-infrastructure",
    title="Andon / Infrastructure",
    meaning="The host, its disks and networks, and the processes of the factory.",
    rows=(_HOST, _PROCESSES),
)
