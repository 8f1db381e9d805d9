"""Settings of the processes: where they listen, where they keep things, which backends they use.

Read once at the start of a process (defaults < `andon.yaml` in the home < environment) and handed down in branches.
What the factory should be is not a setting: that stands in the factory file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from andon.kernel.errors import Refused
from andon.ledger.settings import LogSettings
from andon.wire.limits import ServerLimits

PREFIX = "ANDON_"
FILE = "andon.yaml"

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ListenerSettings(ServerLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the gateway's listener grants to its clients, as settings: a name that is none is refused."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, with the default that one machine needs. Port 0 means: any free one."""

    host: str = "127.0.0.1"  # where the gateway listens
    gateway_port: Port = 8790
    gateway_admin_port: Port = 8792  # health and metrics of the gateway, never public
    control_host: str = "127.0.0.1"
    control_port: Port = 8791
    observer_port: Port = 8793  # queries, facts, telemetry in, metrics; control forwards to it
    control_url: str = ""  # where gateways reach control; empty = on this machine
    tls: Literal["auto", "on", "off"] = "auto"  # of every listener; auto = unless all are on loopback
    tls_names: str = ""  # names and addresses, besides the hosts, in the factory's own certificates: a,b
    gateway_certificate: str = ""  # PEM chain of the data listener, such as one got by ACME; empty = own
    gateway_private_key: str = ""
    control_certificate: str = ""  # PEM chain of control's listener; empty = own
    control_private_key: str = ""
    metrics_open: bool | None = None  # /metrics without a key; unset = where only this machine can ask
    otlp_endpoint: str = ""  # base address of an OTLP/HTTP backend; empty = OTEL_EXPORTER_OTLP_ENDPOINT
    otlp_headers: str = ""  # name=value,other=value; empty = OTEL_EXPORTER_OTLP_HEADERS
    trace_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0  # of traces sent; troubled ones always are
    telemetry_lag_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = (
        3600.0  # older rows are skipped, counted
    )
    telemetry_period_s: Annotated[float, msgspec.Meta(gt=0)] = 15.0  # between two pushes of metrics by OTLP
    aws_region: str = ""  # empty = as boto3 finds it
    aws_endpoint_url: str = ""  # empty = AWS itself
    cloudwatch_group: str = ""  # log group for failed requests and the journal; empty = none
    cloudwatch_metrics: str = ""  # their namespace there; they travel as lines of that group; empty = none
    xray: bool = False  # send exchanges as X-Ray segments
    tables_url: str = ""  # empty = Delta tables in the home; s3://bucket/prefix on a fleet
    telemetry_content: bool = False  # keep what people wrote, in attributes of spans that are sent in
    bodies_limit: Annotated[int, msgspec.Meta(ge=0)] = 2**30  # bytes of recorded bodies; 0 = record none
    segment_bytes: Annotated[int, msgspec.Meta(ge=4096)] = (
        64 * 2**20
    )  # of the ledger's log: size after which a segment is closed and sealed into the tables
    segment_age_s: Annotated[float, msgspec.Meta(gt=0)] = 600.0  # or its age
    ledger_keep_s: Annotated[float, msgspec.Meta(ge=0)] = (
        86_400.0  # how long a segment stays in the log once it is in every table; a rebuild reaches back so far
    )
    ledger_keep_segments: Annotated[int, msgspec.Meta(ge=2)] = 16  # the newest segments stay however old
    devices_file: str = ""  # accelerators as another program writes them, as JSON; empty = ask NVML
    database_url: str = ""  # empty = SQLite in the home; postgresql+psycopg://… on a fleet
    kek: str = (
        ""  # wraps what is sealed: file:PATH,env:NAME,aws-kms:KEY, of which the first wraps; empty = own
    )
    secret_lease_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = (
        3600.0  # a gateway renews at a third of it
    )
    secret_stale_s: Annotated[float, msgspec.Meta(ge=0)] = 604_800.0  # how long it goes on without control
    outside_secret_s: Annotated[float, msgspec.Meta(ge=1)] = 60.0  # between two looks into others' stores
    vault_url: str = ""  # of a Vault or OpenBao server; empty = none
    vault_mount: str = "secret"  # of its KV store, version 2
    vault_namespace: str = ""
    vault_token: str = ""  # env:NAME or file:PATH of a token; or else the two of an AppRole
    vault_role_id: str = ""  # env:NAME or file:PATH
    vault_secret_id: str = ""  # env:NAME or file:PATH
    bodies_sealed: bool = True  # recorded bodies are encrypted under a key for each subject or day
    bodies_keep_days: Annotated[int, msgspec.Meta(ge=0)] = (
        0  # days after which a day's key is destroyed; 0 = never
    )
    limits_url: str = ""  # redis://host:port/0 or rediss://…: counters of limits shared; empty = each alone
    limits_credential: str = ""  # its password: env:NAME or file:PATH
    limits_ca: str = ""  # file of certificates to trust for rediss://; empty = the system's
    limits_name: str = "andon"  # factories that share one store of counters need different names
    limits_patience_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = (
        0.05  # that a request waits for a store that does not answer; then each limit does as it declares
    )
    limits_lease_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = (
        2.0  # after which what a dead gateway held of limits comes back
    )
    trusted_proxies: str = ""  # networks whose X-Forwarded-For is believed, such as 10.0.0.0/8,192.168.1.1
    abuse_exempt: str = ""  # networks that are never made to wait for what they did
    abuse_offences: Annotated[int, msgspec.Meta(ge=0)] = (
        20  # refusals within abuse_forgiving_s after which an address or key waits; 0 = never
    )
    abuse_forgiving_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    abuse_penalty_max_s: Annotated[float, msgspec.Meta(ge=1)] = 300.0  # the longest wait; the first is 1 s
    in_flight_max: Annotated[int, msgspec.Meta(ge=1)] = (
        4096  # requests of one gateway; beyond, those of lower priority are refused first
    )
    listener: ListenerSettings = (
        ListenerSettings()
    )  # connections, heads, bodies and slow clients of the gateway
    drain_s: float = 20.0  # how long a gateway may take to finish what it has begun
    gateways: Annotated[int, msgspec.Meta(ge=1)] = 1  # alpha of every gate is divided by this
    gateway_name: str = "0"
    audit_mode: Literal["open", "closed"] = (
        "open"  # closed: nothing is done that cannot be audited; open: it is told
    )
    audit_lag_s: Annotated[float, msgspec.Meta(ge=3, le=86_400)] = (
        30.0  # closed: how old what is under no checkpoint may be; also the grace of a gateway's start
    )
    audit_witness: str = ""  # folder of a witness that is run beside the factory; empty = none
    lineage_bytes: Annotated[int, msgspec.Meta(ge=2**20)] = 2**30  # of events kept; beyond, none is taken
    lineage_url: str = ""  # of a backend of OpenLineage, such as http://marquez:5000; empty = send none
    lineage_credential: str = ""  # its API key: env:NAME, file:PATH or secret:NAME
    log_level: str = "info"
    allow_anonymous: bool = False  # serve without keys; refused on addresses other than loopback


def log_settings(settings: Settings) -> LogSettings:
    """Bounds of the logs of rows and of facts."""
    return LogSettings(segment_bytes=settings.segment_bytes, segment_age_s=settings.segment_age_s)


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
        if isinstance(values.get("tls"), bool):  # YAML reads on and off as booleans, people do not
            values["tls"] = "on" if values["tls"] else "off"
    for name in Settings.__struct_fields__:
        variable = PREFIX + name.upper()
        if variable in environment and name != "listener":  # a mapping: in the file only
            values[name] = environment[variable]
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(
            "settings_invalid",
            f"A setting is wrong: {error}.",
            hint=f"Correct {path} or the environment variable {PREFIX}<NAME>.",
        ) from error
    if settings.lineage_url and not settings.lineage_url.startswith(("http://", "https://")):
        raise Refused("settings_invalid", "lineage_url is no address.", hint="Such as http://marquez:5000.")
    if settings.allow_anonymous and settings.host not in {"127.0.0.1", "::1", "localhost"}:
        raise Refused(
            "settings_invalid",
            f"allow_anonymous on {settings.host} would serve anybody who can reach it.",
            hint="Listen on 127.0.0.1, or use keys.",
        )
    return settings
