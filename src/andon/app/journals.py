"""Operational logs of the processes: one JSON line an event on standard output, third parties' loggers included.

Set up once at the start of a process. Tracebacks carry places, never the values of variables: a secret in a local
variable must not reach a log.
"""

from __future__ import annotations

import logging
import resource
import sys
from typing import Any

import structlog

from andon.kernel.redaction import KnownSecrets

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def set_up(process: str, level: str, known: KnownSecrets | None = None) -> None:
    """Write events of `level` and above; `process` stands in every line.

    What is known to be secret, or looks so, is hidden in every line, whoever wrote it. A process leaves no core: its
    memory holds what must not lie on a disk.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hiding = _Hiding(known or KnownSecrets())
    threshold = _LEVELS.get(level.lower(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                hiding,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    sys.excepthook = _Last(hiding)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    structlog.contextvars.bind_contextvars(process=process)


class _Hiding:
    """A processor of structlog: the event without secrets."""

    def __init__(self, known: KnownSecrets) -> None:
        self._known = known

    def __call__(
        self, logger: Any, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """See structlog's processors."""
        return {key: self._known.clean(value) for key, value in event.items()}


class _Last:
    """What is written of an exception that nobody caught: places and kinds, and its words without secrets."""

    def __init__(self, hiding: _Hiding) -> None:
        self._hiding = hiding

    def __call__(self, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        """See sys.excepthook."""
        if issubclass(kind, KeyboardInterrupt):
            return
        logging.getLogger("andon").critical("ended by a bug", exc_info=(kind, error, traceback))
