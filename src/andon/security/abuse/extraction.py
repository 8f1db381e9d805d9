"""Who seems to be copying a model: how many different inputs, how regular, how near to where the answer flips.

On the path only what can be known nowhere else is sketched, in constant memory for each caller and endpoint; judging is
done beside the requests. Nothing of an input is kept but salted hashes. It sees no text and never says that it is sure.
"""

from __future__ import annotations

import math
import statistics
from collections import OrderedDict
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from andon.kernel.exchange import Exchange
from andon.kernel.snapshot import AbuseEntry
from andon.security.abuse.settings import AbuseSettings
from andon.security.abuse.sketch import Sketch

VECTOR_BYTES_MAX: Final = (
    4096  # of a tensor as JSON; larger ones are counted, not compared with the one before
)
VECTOR_MAX: Final = 64
STEADY: Final = 0.1  # of different steps to different inputs: below, somebody walks a grid
EARLY: Final = 4  # regular or boundary probing is said at this part of `distinct_inputs`
NEAR_RATIO: Final = 3.0  # times the share of others that is near the boundary
NEAR_Z: Final = 4.0  # standard errors beyond that share
MEMORY: Final = 0.3  # weight of the last window in a caller's own baseline
_numbers: Final = msgspec.json.Decoder(list[Any]).decode

Pair = tuple[str, str]  # principal, endpoint


class Suspicion(NamedTuple):
    """What speaks for it."""

    principal: str
    endpoint: str
    policy: AbuseEntry
    sign: str  # coverage, grid, boundary
    value: float
    expected: float
    distinct: int
    requests: int


class _Watched:
    """What one caller asked of one endpoint in this window."""

    __slots__ = ("before", "began", "inputs", "last", "near", "requests", "scored", "steps")

    def __init__(self, began: float) -> None:
        self.before = 0.0  # different inputs of an earlier window, as a running mean
        self.last: tuple[float, ...] | None = None
        self._renew(began)

    def _renew(self, began: float) -> None:
        self.began = began
        self.inputs = Sketch()
        self.steps = Sketch()
        self.requests = 0
        self.scored = 0
        self.near = 0

    def roll(self, now: float, window_s: float) -> None:
        """Begin a new window once this one is over; what was, becomes the baseline."""
        if now - self.began >= window_s:
            self.before += (self.inputs.count() - self.before) * (MEMORY if self.before else 1.0)
            self._renew(now)


class Extraction:
    """The watch of one gateway."""

    def __init__(self, settings: AbuseSettings, salt: bytes) -> None:
        self._settings = settings
        self._salt = salt
        self._watched: OrderedDict[Pair, _Watched] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._watched)

    def ask(self, x: Exchange, principal: str, policy: AbuseEntry, now: float) -> None:
        """Sketch one question."""
        assert x.endpoint is not None  # policies are of endpoints
        pair = (principal, x.endpoint.name)
        watched = self._watched.get(pair)
        if watched is None:
            if len(self._watched) >= self._settings.watched_max:
                self._watched.popitem(last=False)
                self.forgotten += 1
            watched = self._watched[pair] = _Watched(now)
        watched.roll(now, policy.window_s)
        watched.requests += 1
        pieces = _inputs(x)
        hashed = blake2b(digest_size=8, key=self._salt)
        for piece in pieces:
            hashed.update(piece)
        watched.inputs.add(int.from_bytes(hashed.digest(), "little"))
        vector = _vector(pieces)
        if vector is not None:
            last, watched.last = watched.last, vector
            if last is not None and len(last) == len(vector) and last != vector:
                step = ",".join(f"{b - a:.5g}" for a, b in zip(last, vector, strict=True))
                mark = blake2b(step.encode(), digest_size=8, key=self._salt).digest()
                watched.steps.add(int.from_bytes(mark, "little"))

    def hear(self, x: Exchange, principal: str, policy: AbuseEntry) -> None:
        """Take in how near an answer's score was to where it flips."""
        told, endpoint = x.told, x.endpoint
        if told is None or told.score is None or endpoint is None or not policy.boundary_margin:
            return
        watched = self._watched.get((principal, endpoint.name))
        if watched is None:
            return
        prediction = None if endpoint.recording is None else endpoint.recording.prediction
        threshold = 0.5 if prediction is None or prediction.threshold is None else prediction.threshold
        watched.scored += 1
        watched.near += abs(told.score - threshold) <= policy.boundary_margin

    def judge(self, policies: dict[str, AbuseEntry], now: float) -> list[Suspicion]:
        """Who stands out now. Off the path: it looks at every pair."""
        by_endpoint: dict[str, list[tuple[str, _Watched, float]]] = {}
        for (principal, endpoint), watched in list(self._watched.items()):
            policy = policies.get(endpoint)
            if policy is not None and now - watched.began >= policy.window_s and watched.requests:
                watched.roll(now, policy.window_s)
            elif policy is None or now - watched.began >= policy.window_s:
                del self._watched[principal, endpoint]  # not seen for a whole window
                continue
            by_endpoint.setdefault(endpoint, []).append((principal, watched, watched.inputs.count()))
        found: list[Suspicion] = []
        for endpoint, callers in by_endpoint.items():
            found += _outstanding(endpoint, callers, policies[endpoint])
        return found


def _outstanding(
    endpoint: str, callers: list[tuple[str, _Watched, float]], policy: AbuseEntry
) -> list[Suspicion]:
    found = []
    scored = sum(watched.scored for _, watched, _ in callers)
    near = sum(watched.near for _, watched, _ in callers)
    counts = [count for _, _, count in callers]
    for place, (principal, watched, distinct) in enumerate(callers):
        signs: list[tuple[str, float, float]] = []
        peers = counts[:place] + counts[place + 1 :]
        usual = max(statistics.median(peers) if peers else 0.0, watched.before)
        if distinct >= policy.distinct_inputs and distinct >= policy.peers_ratio * usual:
            signs.append(("coverage", distinct, usual))
        if distinct >= policy.distinct_inputs / EARLY:
            steps = watched.steps.count()
            if watched.last is not None and steps and steps <= STEADY * distinct:
                signs.append(("grid", steps, distinct))
        if watched.scored >= policy.distinct_inputs / EARLY and scored > watched.scored:
            share = (near - watched.near) / (scored - watched.scored)
            error = math.sqrt(max(share * (1 - share), 1 / (scored - watched.scored)) / watched.scored)
            value = watched.near / watched.scored
            if value > NEAR_RATIO * share and value > share + NEAR_Z * error:
                signs.append(("boundary", value, share))
        found += [
            Suspicion(principal, endpoint, policy, *sign, round(distinct), watched.requests) for sign in signs
        ]
    return found


def _inputs(x: Exchange) -> list[bytes]:
    """What was asked, without what varies by itself: ids of requests are no inputs."""
    tensors = getattr(x.request, "inputs", None)
    if tensors and all(hasattr(one, "data") for one in tensors):
        pieces = [bytes(one.data) for one in tensors]
        if all(pieces):
            return pieces
    return [x.body]


def _vector(pieces: list[bytes]) -> tuple[float, ...] | None:
    """The numbers of a small input; None for anything else."""
    if sum(map(len, pieces)) > VECTOR_BYTES_MAX:
        return None
    numbers: list[float] = []
    for piece in pieces:
        try:
            values = _numbers(piece)
        except msgspec.MsgspecError:
            return None
        while values and isinstance(values[0], list):
            values = [value for row in values if isinstance(row, list) for value in row]
        numbers += [float(value) for value in values if isinstance(value, int | float)]
    return tuple(numbers) if 0 < len(numbers) <= VECTOR_MAX else None
