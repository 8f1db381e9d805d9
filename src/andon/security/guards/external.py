"""Classifiers from elsewhere: an ONNX model by its path, or a service by its URL. Both give each text a score.

Waited for, within a declared time, never on the event loop; what they cannot answer is the guard's failure, never a
pass. Loaded only when a guard names one: onnxruntime is an extra.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from andon.kernel.clock import Clock
from andon.kernel.errors import AndonError, Refused, Transient
from andon.kernel.loopback import is_loopback
from andon.kernel.ports import Upstream
from andon.kernel.snapshot import TargetEntry
from andon.security.guards.model import Finding

TEXTS_MAX: Final = 256  # of one request; more are asked in turn
_ONNX: Final = "onnxruntime"


class ExternalSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """Settings of the detector `external`: exactly one of `onnx` and `url`."""

    onnx: Annotated[
        str,
        msgspec.Meta(description="Path of a model with one input of strings and an output of probabilities."),
    ] = ""
    output: Annotated[str, msgspec.Meta(description="Name of that output; left out: the last.")] = ""
    positive: Annotated[
        int, msgspec.Meta(description="Place of the class that is looked for among the probabilities.", ge=0)
    ] = 1
    url: Annotated[
        str, msgspec.Meta(description='Where {"texts": […]} is posted and {"scores": […]} comes back.')
    ] = ""
    credential: Annotated[
        str, msgspec.Meta(description="env:NAME or file:PATH of a bearer token for the URL.")
    ] = ""
    allow_insecure: Annotated[
        bool,
        msgspec.Meta(description="Post over http to other machines: texts and token travel in the open."),
    ] = False
    entity: Annotated[str, msgspec.Meta(description="What a finding is called.", min_length=1)] = "external"
    timeout_ms: Annotated[int, msgspec.Meta(description="How long an answer may take.", ge=1, le=60_000)] = (
        500
    )


class ExternalDetector(Protocol):
    """Judges whole texts, and must be waited for."""

    name: str
    version: str

    async def judge(self, texts: Sequence[str]) -> Sequence[Sequence[Finding]]:
        """Findings of each text. Raises AndonError or TimeoutError when it cannot."""
        ...


def check(settings: ExternalSettings) -> None:
    """Raises Refused for settings that name nothing, or both, or what is not there."""
    if bool(settings.onnx) == bool(settings.url):
        raise Refused("guard_invalid", "Give either `onnx`, a model's path, or `url`, a service's address.")
    if settings.url and not settings.url.startswith(("http://", "https://", "unix://")):
        raise Refused("guard_invalid", f"'{settings.url}' is no address of http or https.")
    if settings.url.startswith("http://") and not settings.allow_insecure and not _is_here(settings.url):
        raise Refused(
            "guard_invalid",
            "http to another machine would send every text in the open.",
            hint="Use https, or set allowInsecure: true on a network that you trust.",
        )
    if settings.onnx:
        if importlib.util.find_spec(_ONNX) is None:
            hint = "Install it with: pip install 'andon[guards]'"
            raise Refused("guard_invalid", "Models in ONNX need the extra `guards`.", hint=hint)
        if not Path(settings.onnx).is_file():
            raise Refused("guard_invalid", f"There is no file {settings.onnx}.")


def _is_here(url: str) -> bool:
    """Whether an address is this machine's own; what is no URL is not."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


class OnnxDetector:
    """A model that runs here, in one thread of its own."""

    name = "external"

    def __init__(self, settings: ExternalSettings) -> None:
        check(settings)
        raw = Path(settings.onnx).read_bytes()
        self.version = sha256(raw).hexdigest()[:12]
        self._settings = settings
        runtime = importlib.import_module(_ONNX)
        self._arrays = importlib.import_module("numpy")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = runtime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own for every broken model
            raise Refused("guard_invalid", f"{settings.onnx} is no model that onnxruntime runs.") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(string)":
            raise Refused("guard_invalid", f"{settings.onnx} must have one input, of strings.")
        self._input = inputs[0]
        outputs = [output.name for output in self._session.get_outputs()]
        self._output = settings.output or outputs[-1]
        if self._output not in outputs:
            raise Refused("guard_invalid", f"{settings.onnx} has no output '{self._output}'.")
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="guard")

    async def judge(self, texts: Sequence[str]) -> Sequence[Sequence[Finding]]:
        """See `ExternalDetector`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._settings.timeout_ms / 1000):
            scores = await loop.run_in_executor(self._threads, self._score, tuple(texts))
        return _findings(texts, scores, self._settings.entity)

    def _score(self, texts: Sequence[str]) -> list[float]:
        shape = (-1, 1) if len(self._input.shape) == 2 else (-1,)
        given = self._arrays.array(texts, dtype=object).reshape(shape)
        (found,) = self._session.run([self._output], {self._input.name: given})
        positive = self._settings.positive
        if isinstance(found, list):  # a ZipMap: one dictionary of each text, by class
            return [float(list(one.values())[positive]) for one in found]
        flat = found.reshape(len(texts), -1)
        return [float(row[positive] if len(row) > 1 else row[0]) for row in flat]


class HttpDetector:
    """A service that is asked."""

    name = "external"

    def __init__(self, settings: ExternalSettings, upstream: Upstream, token: str, clock: Clock) -> None:
        check(settings)
        self.version = sha256(settings.url.encode()).hexdigest()[:12]
        self._settings = settings
        self._upstream = upstream
        self._clock = clock
        base, slash, path = settings.url.partition("://")[2].partition("/")
        scheme = settings.url.partition("://")[0]
        self._path = (slash + path).encode() or b"/"
        self._target = TargetEntry(id=f"guard-{self.version}", url=f"{scheme}://{base}", protocol="oip")
        self._headers = [(b"content-type", b"application/json")]
        if token:
            self._headers.append((b"authorization", b"Bearer " + token.encode("ascii")))

    async def judge(self, texts: Sequence[str]) -> Sequence[Sequence[Finding]]:
        """See `ExternalDetector`."""
        timeout_s = self._settings.timeout_ms / 1000
        async with asyncio.timeout(timeout_s):
            answer = await self._upstream.send(
                self._target,
                b"POST",
                self._path,
                self._headers,
                msgspec.json.encode({"texts": texts}),
                connect_timeout_s=timeout_s,
                first_byte_timeout_s=timeout_s,
                idle_timeout_s=timeout_s,
                deadline_at=self._clock.monotonic() + timeout_s,
            )
        if answer.status != 200:
            raise Transient("guard_unavailable", f"The classifier answered {answer.status}.")
        try:
            scores = msgspec.json.decode(answer.body, type=_Scores).scores
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Transient("guard_unavailable", "The classifier's answer holds no scores.") from error
        return _findings(texts, scores, self._settings.entity)


class _Scores(msgspec.Struct):
    scores: list[float]


def _findings(texts: Sequence[str], scores: Sequence[float], entity: str) -> Sequence[Sequence[Finding]]:
    """One finding of each text, with its score. Raises `Transient` where the scores are not those of the texts."""
    if len(scores) != len(texts) or not all(math.isfinite(score) for score in scores):
        raise Transient("guard_unavailable", "The classifier gave no score for every text.")
    return [[Finding(0, len(text), entity, score)] for text, score in zip(texts, scores, strict=True)]


def failure_code(error: BaseException) -> str:
    """Why a classifier could not judge, in one word."""
    if isinstance(error, TimeoutError):
        return "timeout"
    return error.code if isinstance(error, AndonError) else "error"


def open_external(
    settings: Any, upstream: Upstream | None, token: str, clock: Clock
) -> ExternalDetector | None:
    """The classifier that settings name; None for a service where nothing can be asked (at `plan`)."""
    if settings.onnx or upstream is None:
        check(settings)
        return OnnxDetector(settings) if settings.onnx else None
    return HttpDetector(settings, upstream, token, clock)
