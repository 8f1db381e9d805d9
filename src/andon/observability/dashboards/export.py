"""The files of Grafana's classic provisioning, and what Prometheus needs to scrape an Andon. Pure: names and bytes.

Layout: `provisioning/dashboards`, `provisioning/datasources`, `dashboards/Andon/*.json`, `prometheus/andon.yml`. A
Grafana whose `provisioning` folder this is shows every board without a click.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import yaml

from andon.observability.dashboards.grafana import encode, render
from andon.observability.dashboards.model import Board

FOLDER = "Andon"
SOURCE_UID = "andon-prometheus"
PERIOD_S = 15
JOBS = {"andon": "observers", "andon-gateway": "gateways"}


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are, as Grafana and Prometheus see them."""

    dashboards: str  # absolute path of the exported `dashboards` folder on Grafana's machine
    prometheus: str = "http://127.0.0.1:9090"
    observers: tuple[str, ...] = ("127.0.0.1:8793",)
    gateways: tuple[str, ...] = ("127.0.0.1:8792",)


def places_of(dashboards: str, prometheus: str, scrape: Sequence[str]) -> Places:
    """Places with targets written `job=host:port`, where any are given. Raises `ValueError` for another job."""
    found: dict[str, tuple[str, ...]] = {}
    for text in scrape:
        job, equals, target = text.partition("=")
        if job not in JOBS or not (equals and target):
            raise ValueError(f"'{text}' is not JOB=HOST:PORT with a job of {' or '.join(JOBS)}")
        field = JOBS[job]
        found[field] = (*found.get(field, ()), target)
    return msgspec.structs.replace(Places(dashboards=dashboards, prometheus=prometheus), **found)


def export(boards: Sequence[Board], places: Places) -> dict[PurePosixPath, bytes]:
    """Every file by its path below the folder of the export."""
    files = {
        PurePosixPath("provisioning/dashboards/andon.yaml"): _yaml(_provider(places)),
        PurePosixPath("provisioning/datasources/andon.yaml"): _yaml(_source(places)),
        PurePosixPath("prometheus/andon.yml"): _yaml(scrape_config(places)),
    }
    for board in boards:
        files[PurePosixPath(f"dashboards/{FOLDER}/{board.uid}.json")] = encode(render(board))
    return files


def differing(files: Mapping[PurePosixPath, bytes], folder: Path) -> list[PurePosixPath]:
    """Files that are missing below the folder or hold something else. Blocks."""
    return [path for path, content in files.items() if _read(folder / path) != content]


def write(files: Mapping[PurePosixPath, bytes], folder: Path) -> None:
    """Write what differs; other files are left alone. Blocks. Raises `OSError`."""
    for path in differing(files, folder):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(files[path])


def scrape_config(places: Places) -> dict[str, Any]:
    """Two jobs: the observer tells everything made from rows, the gateway what its process alone knows."""
    return {
        "scrape_configs": [
            {
                "job_name": name,
                "scrape_interval": f"{PERIOD_S}s",
                "static_configs": [{"targets": list(getattr(places, field))}],
            }
            for name, field in JOBS.items()
        ]
    }


def _provider(places: Places) -> dict[str, Any]:
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "andon",
                "type": "file",
                "allowUiUpdates": False,
                "disableDeletion": True,
                "updateIntervalSeconds": 30,
                "options": {"path": places.dashboards, "foldersFromFilesStructure": True},
            }
        ],
    }


def _source(places: Places) -> dict[str, Any]:
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus of Andon",
                "uid": SOURCE_UID,
                "type": "prometheus",
                "access": "proxy",
                "url": places.prometheus,
                "jsonData": {"timeInterval": f"{PERIOD_S}s", "httpMethod": "POST"},
            }
        ],
    }


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _yaml(value: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, width=110).encode()
