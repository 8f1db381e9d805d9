"""The four kinds of failure, named by what the caller can do about them.

Raised everywhere, rendered in one place per plane: `gateway/egress` for traffic, `web/problems` for the admin API.
Never put secrets or bodies in `message`: it is shown to clients; `internal` goes to logs and the journal only.
"""

from __future__ import annotations


class AndonError(Exception):
    """Root of every refusal that Andon makes on purpose; anything else that is raised is a bug."""

    default_status = 500

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        param: str | None = None,
        internal: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code  # stable, snake_case, has a row in docs/errors.md
        self.message = message  # what happened and where, one sentence
        self.hint = hint  # what to do next
        self.status = status or self.default_status
        self.param = param  # the field at fault, as a path
        self.internal = internal

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class Refused(AndonError):
    """The request itself is at fault: fix it and send it again (4xx)."""

    default_status = 400


class Unlearnt(Refused):
    """A refusal for want of a signing key: it may change once the issuer has been asked (port `Learner`).

    To the caller it reads as every other refusal of its kind does.
    """

    def __init__(self, code: str, message: str, *, hint: str, issuer: str, signer: str) -> None:
        super().__init__(code, message, hint=hint, status=401)
        self.issuer = issuer  # name of the Issuer
        self.signer = signer  # id of the key that is not known; empty = the credential names none


class Conflict(AndonError):
    """The world has moved since the caller looked: reload and decide again (409)."""

    default_status = 409


class Transient(AndonError):
    """It may work later: try again after `retry_after_s` (429, 502, 503, 504)."""

    default_status = 503

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after_s: float = 1.0,
        should_retry: bool = True,
        hint: str = "",
        status: int | None = None,
        param: str | None = None,
        internal: str = "",
    ) -> None:
        super().__init__(code, message, hint=hint, status=status, param=param, internal=internal)
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry  # sent as x-should-retry


class Permanent(AndonError):
    """It will not work without a person: the object is parked and somebody is told (500)."""

    default_status = 500
