"""The routes of the audit log, as control and the observer both know them: how it stands, its files, its keys.

The files are those of C2SP tlog-tiles, read-only, so that a witness or an auditor elsewhere can follow them. Imports no
engine: control publishes and forwards these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from andon.app import views
from andon.web.routes import Nothing, Route

_Segment = Annotated[str, msgspec.Meta(max_length=16, pattern=r"^x?\d{3}(\.p)?$|^\d{1,3}$")]
_Level = Annotated[str, msgspec.Meta(max_length=8, pattern=r"^(\d{1,2}|entries)$")]
_BYTES = ("application/octet-stream", "text/plain")


class AuditStatus(views.View, frozen=True, kw_only=True):
    """How the audit log stands."""

    mode: str  # open or closed
    origin: str  # the log's name; empty while it has none
    public_key: str  # that signs now
    size: int  # entries that are durable
    signed_size: int  # of them under a checkpoint
    behind_s: (
        float | None
    )  # how long the oldest thing has been waiting for a checkpoint; null before the first
    # By source: the last position that is in the log.
    positions: dict[str, int] = msgspec.field(default_factory=dict)
    problem: str = ""  # why nothing can be added now
    witness_size: int | None = None  # entries that the configured witness has cosigned; null without one
    witness_at_s: int | None = None


class ShredRequest(views.Input, frozen=True, kw_only=True):
    """Whose payloads become unreadable."""

    principal: Annotated[
        str,
        msgspec.Meta(
            min_length=3,
            max_length=512,
            description="As records name them.",
            examples=["user:ann@example.com"],
        ),
    ]


class ShredReceipt(views.View, frozen=True, kw_only=True):
    """What was destroyed. Entries and proofs stay; what they commit to cannot be read any more."""

    keys: tuple[str, ...]


class RotateRequest(views.Input, frozen=True, kw_only=True):
    """Nothing needs to be said."""


class TilePath1(msgspec.Struct, frozen=True, kw_only=True):
    """A tile whose number has three digits."""

    level: _Level
    a: _Segment


class TilePath2(TilePath1, frozen=True, kw_only=True):
    """A partial one, or one whose number has six digits."""

    b: _Segment


class TilePath3(TilePath2, frozen=True, kw_only=True):
    """And so on."""

    c: _Segment


class TilePath4(TilePath3, frozen=True, kw_only=True):
    """And so on."""

    d: _Segment


def auditing_routes(verbs: Any) -> Sequence[Route]:
    """`verbs` has status, shred, rotate and file."""
    depths = (
        (TilePath1, "{a}"),
        (TilePath2, "{a}/{b}"),
        (TilePath3, "{a}/{b}/{c}"),
        (TilePath4, "{a}/{b}/{c}/{d}"),
    )
    return (
        Route(
            method="GET",
            path="/v1/audit",
            name="getAudit",
            action="audit.read",
            response=AuditStatus,
            handler=verbs.status,
            summary="The audit log: size, checkpoint, public key, how far behind, what its witness has seen",
        ),
        Route(
            method="POST",
            path="/v1/audit/shred",
            name="shredAudit",
            action="audit.shred",
            request=ShredRequest,
            response=ShredReceipt,
            handler=verbs.shred,
            summary="Destroy the keys of one person's payloads; the log says that it was done, not about whom",
        ),
        Route(
            method="POST",
            path="/v1/audit/rotate",
            name="rotateAuditKey",
            action="audit.rotate",
            request=RotateRequest,
            response=AuditStatus,
            handler=verbs.rotate,
            summary="Sign with a new key from now on; the old one vouches for it",
        ),
        _file("/v1/audit/log/checkpoint", "getAuditCheckpoint", Nothing, verbs, "The signed head of the log"),
        _file(
            "/v1/audit/log/keys", "getAuditKeys", Nothing, verbs, "The log's public keys, each vouched for"
        ),
        *(
            _file(
                f"/v1/audit/log/tile/{{level}}/{path}",
                f"getAuditTile{depth}",
                params,
                verbs,
                "A tile of hashes, or with level `entries` a bundle of entries, by the parts of its number",
            )
            for depth, (params, path) in enumerate(depths, 1)
        ),
    )


def _file(path: str, name: str, params: Any, verbs: Any, summary: str) -> Route:
    verb = {"getAuditCheckpoint": verbs.checkpoint, "getAuditKeys": verbs.keys}.get(name, verbs.tile)
    return Route(
        method="GET",
        path=path,
        name=name,
        action="audit.read",
        params=params,
        response=str,
        handler=verb,
        summary=summary,
        media_types=_BYTES,
    )
