"""Micro-batching: requests that wait at the same moment share one call of the model.

Runs on the replica's event loop. Quick models are called right there; slow ones in one thread, so that health checks
and new requests are still answered. A failed batch is run again one by one, so that nobody fails for a neighbour.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial

import msgspec
import numpy as np

from andon.kernel.errors import Transient
from andon.serving.models.formats.port import Array

Predict = Callable[[Mapping[str, Array]], dict[str, Array]]

# Handing a call to a thread and back costs about 60 µs; a loop blocked for longer than 2 ms delays its neighbours
# more than that. Between the two, a model stays where it is.
_SLOW_S = 0.002
_QUICK_S = 0.0005
_MEMORY = 0.2  # weight of the newest call in the moving average of durations


class BatchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds a batch and the queue before it."""

    rows_max: int = 32  # of requests stacked together; one request with more goes alone
    delay_max_s: float = 0.0
    waiting_max: int = 1024  # requests; beyond, they are refused
    can_stack: bool = True  # every input and output of the model has a free first dimension


class Timing:
    """How long one request took here, in seconds, filled in as it goes. A batch's call counts whole for each."""

    __slots__ = ("compute_s", "features_ms", "queue_s", "requests")

    def __init__(self) -> None:
        self.queue_s = 0.0  # before its batch was run
        self.compute_s = 0.0  # in the model
        self.requests = 1  # in its batch
        self.features_ms: Mapping[str, float] = {}  # as the model itself says


class _Waiting:
    """One request in the queue."""

    __slots__ = ("future", "inputs", "key", "rows", "since", "timing")

    def __init__(
        self, inputs: dict[str, Array], rows: int, key: object, future: asyncio.Future[dict[str, Array]]
    ):
        self.inputs = inputs
        self.rows = rows
        self.key = key
        self.future = future
        self.since = 0.0
        self.timing: Timing | None = None


class Batcher:
    """The queue before one model. `submit` from the loop only."""

    def __init__(
        self,
        predict: Predict,
        limits: BatchLimits,
        thread: Executor,
        *,
        now: Callable[[], float] | None = None,
        features_ms: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self._predict = predict
        self._features_ms = features_ms  # what the model says of its last call
        self._limits = limits
        self._executor = thread
        self._loop = asyncio.get_running_loop()
        self._now = now or self._loop.time  # the loop's own time may count in milliseconds only
        self._waiting: deque[_Waiting] = deque()
        self._wake: asyncio.Handle | None = None
        self._busy_since: float | None = None  # loop time at which the thread was given work
        self._average_s = 0.0
        self._is_slow = False
        self._stacks = limits.can_stack and limits.rows_max > 1
        self.batches = 0
        self.batches_failed = 0  # run again one by one
        self.rows_largest = 0  # of a stacked batch, for tests and metadata

    def learn(self, seconds: float) -> None:
        """What one call takes, as seen at warm-up."""
        self._average_s = seconds
        self._is_slow = seconds > _SLOW_S

    def busy_s(self) -> float:
        """For how long the call in the thread has been running; 0 if none is."""
        return 0.0 if self._busy_since is None else self._loop.time() - self._busy_since

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self._waiting and self._busy_since is None

    def submit(
        self, inputs: dict[str, Array], timing: Timing | None = None
    ) -> asyncio.Future[dict[str, Array]]:
        """The outputs, later; `timing` is filled in by then. Raises `Transient` (503) if too many wait already."""
        if len(self._waiting) >= self._limits.waiting_max:
            raise Transient(
                "replica_busy",
                f"{self._limits.waiting_max} requests are waiting for this replica already.",
                retry_after_s=max(1.0, round(self._average_s * self._limits.waiting_max, 1)),
                hint="Send more slowly, or give the deployment more replicas.",
            )
        future: asyncio.Future[dict[str, Array]] = self._loop.create_future()
        rows, key = 1, None
        if self._stacks:
            rows, key = _stack_key(inputs)
        waiting = _Waiting(inputs, rows, key, future)
        if timing is not None:
            waiting.since, waiting.timing = self._now(), timing
        self._waiting.append(waiting)
        if self._busy_since is None:
            self._arm()
        return future

    def _arm(self) -> None:
        """See to it that the queue is looked at: at the end of this turn of the loop, or after the delay."""
        delay_s = self._limits.delay_max_s
        if self._wake is None:
            if delay_s and self._stacks and len(self._waiting) < self._limits.rows_max:
                self._wake = self._loop.call_later(delay_s, self._flush)
            else:
                self._wake = self._loop.call_soon(self._flush)
        elif isinstance(self._wake, asyncio.TimerHandle) and len(self._waiting) == self._limits.rows_max:
            self._wake.cancel()
            self._wake = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Run what waits. Ends when the queue is empty or the thread is busy; at most once round the queue."""
        self._wake = None
        while self._waiting and self._busy_since is None:
            batch = self._cut()
            if not batch:
                continue
            if self._is_slow:
                self._busy_since = self._loop.time()
                work = self._loop.run_in_executor(self._executor, self._run, batch)
                work.add_done_callback(partial(self._returned, batch))
            else:
                started = self._loop.time()
                answers = self._run(batch)
                self._note(self._loop.time() - started)
                _deliver(batch, answers)

    def _cut(self) -> list[_Waiting]:
        """The next batch, in order of arrival: like requests, together within the limit. Never a larger one.

        Requests whose client has left are dropped. Unlike ones are passed over and keep their places.
        """
        batch: list[_Waiting] = []
        passed: list[_Waiting] = []
        rows = 0
        while self._waiting:
            one = self._waiting.popleft()
            if one.future.done():
                continue
            if not batch:
                batch.append(one)
                rows = one.rows
                if one.key is None:
                    break
            elif one.key == batch[0].key and rows + one.rows <= self._limits.rows_max:
                batch.append(one)
                rows += one.rows
            else:
                passed.append(one)
            if rows >= self._limits.rows_max:
                break
        self._waiting.extendleft(reversed(passed))
        self.batches += 1
        if len(batch) > 1 and rows > self.rows_largest:
            self.rows_largest = rows
        return batch

    def _run(self, batch: list[_Waiting]) -> list[dict[str, Array] | Exception]:
        """Answers in the order of the batch, timed. Runs on the loop or in the thread."""
        began = self._now()
        answers = self._answers(batch)
        took_s = self._now() - began
        features = self._features_ms() if self._features_ms is not None else {}
        for one in batch:
            if one.timing is not None:
                one.timing.queue_s, one.timing.compute_s = began - one.since, took_s
                one.timing.requests, one.timing.features_ms = len(batch), features
        return answers

    def _answers(self, batch: list[_Waiting]) -> list[dict[str, Array] | Exception]:
        if len(batch) == 1:
            return [self._one(batch[0].inputs)]
        names = batch[0].inputs
        stacked = {name: np.concatenate([one.inputs[name] for one in batch]) for name in names}
        rows = sum(one.rows for one in batch)
        try:
            outputs = self._predict(stacked)
            if all(array.ndim and array.shape[0] == rows for array in outputs.values()):
                return _split(outputs, batch)
        except Exception:  # the model's own, counted here; each request is run by itself below and reports it
            self.batches_failed += 1
        return [self._one(one.inputs) for one in batch]

    def _one(self, inputs: dict[str, Array]) -> dict[str, Array] | Exception:
        try:
            return self._predict(inputs)
        except Exception as error:  # whatever the model raises is this request's answer
            return error

    def _note(self, seconds: float) -> None:
        self._average_s += _MEMORY * (seconds - self._average_s)
        if self._average_s > _SLOW_S:
            self._is_slow = True
        elif self._average_s < _QUICK_S:
            self._is_slow = False

    def _returned(
        self, batch: list[_Waiting], done: asyncio.Future[list[dict[str, Array] | Exception]]
    ) -> None:
        """The thread is back: answer, and go on with what has gathered meanwhile."""
        self._note(self.busy_s())
        self._busy_since = None
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is not None:
            for one in batch:
                if not one.future.done():
                    one.future.set_exception(RuntimeError(f"the model's thread ended: {error!r}"))
        else:
            _deliver(batch, done.result())
        if self._waiting:
            self._arm()


def _stack_key(inputs: dict[str, Array]) -> tuple[int, object]:
    """How many rows a request has and what another must have in common to be stacked; None = go alone."""
    rows = -1
    key: list[object] = []
    for name, array in inputs.items():
        shape = array.shape
        if not shape or (rows >= 0 and shape[0] != rows):
            return 1, None
        rows = shape[0]
        key.append((name, array.dtype.char, shape[1:]))
    return (rows, tuple(key)) if rows > 0 else (1, None)


def _split(outputs: dict[str, Array], batch: list[_Waiting]) -> list[dict[str, Array] | Exception]:
    answers: list[dict[str, Array] | Exception] = []
    start = 0
    for one in batch:
        end = start + one.rows
        answers.append({name: array[start:end] for name, array in outputs.items()})
        start = end
    return answers


def _deliver(batch: list[_Waiting], answers: list[dict[str, Array] | Exception]) -> None:
    for one, answer in zip(batch, answers, strict=True):
        if one.future.done():
            continue
        if isinstance(answer, Exception):
            one.future.set_exception(answer)
        else:
            one.future.set_result(answer)
