"""Settings of the processes: where they listen, where they keep things, which backends they use.

Read once at the start of a process (defaults < `andon.yaml` in the home < environment) and handed down in branches.
What the factory should be is not a setting: that stands in the factory file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from andon.kernel.errors import Refused

PREFIX = "ANDON_"
FILE = "andon.yaml"

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, with the default that one machine needs. Port 0 means: any free one."""

    host: str = "127.0.0.1"  # where the gateway listens
    gateway_port: Port = 8790
    gateway_admin_port: Port = 8792  # health and metrics of the gateway, never public
    control_host: str = "127.0.0.1"
    control_port: Port = 8791
    observer_port: Port = 8793  # queries, facts, telemetry in, metrics; control forwards to it
    tables_url: str = ""  # empty = Delta tables in the home; s3://bucket/prefix on a fleet
    telemetry_content: bool = False  # keep what people wrote, in attributes of spans that are sent in
    bodies_quota: Annotated[int, msgspec.Meta(ge=0)] = (
        2**30
    )  # bytes for recorded inputs and outputs; 0 = none
    database_url: str = ""  # empty = SQLite in the home; postgresql+psycopg://… on a fleet
    drain_s: float = 20.0  # how long a gateway may take to finish what it has begun
    gateways: Annotated[int, msgspec.Meta(ge=1)] = 1  # alpha of every gate is divided by this
    gateway_name: str = "0"
    log_level: str = "info"
    allow_anonymous: bool = False  # serve without keys; refused on addresses other than loopback


def load_settings(home: Path, environment: Mapping[str, str]) -> Settings:
    """Settings of a home. Raises Refused naming the source and the field at fault."""
    values: dict[str, Any] = {}
    path = home / FILE
    if path.exists():
        try:
            read = yaml.safe_load(path.read_text()) or {}
        except yaml.YAMLError as error:
            raise Refused(
                "settings_invalid", f"{path} is not YAML: {error}", hint="Correct the file."
            ) from error
        if not isinstance(read, dict):
            raise Refused(
                "settings_invalid", f"{path} must hold a mapping.", hint="Write one `name: value` a line."
            )
        values.update(read)
    for name in Settings.__struct_fields__:
        variable = PREFIX + name.upper()
        if variable in environment:
            values[name] = environment[variable]
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(
            "settings_invalid",
            f"A setting is wrong: {error}.",
            hint=f"Correct {path} or the environment variable {PREFIX}<NAME>.",
        ) from error
    if settings.allow_anonymous and settings.host not in {"127.0.0.1", "::1", "localhost"}:
        raise Refused(
            "settings_invalid",
            f"allow_anonymous on {settings.host} would serve anybody who can reach it.",
            hint="Listen on 127.0.0.1, or use keys.",
        )
    return settings
