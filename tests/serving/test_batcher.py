"""Batching: sizes are kept, everyone gets their own answer, nobody fails for a neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.kernel.errors import Transient
from andon.serving.models.formats.port import Array
from andon.serving.replica.application import server_timing
from andon.serving.replica.batcher import Batcher, BatchLimits, Timing
from andon.testing.loop import VirtualClock, run_virtual


class AtOnce(Executor):
    """A thread that is imagined: the work is done when it is handed over."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Model:
    """Doubles what it gets, raises on 13, and remembers how many rows each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        x = inputs["x"]
        self.calls.append(len(x))
        if (x == 13).any():
            raise ValueError("thirteen")
        return {"y": x * 2}


REQUEST = st.tuples(st.integers(1, 6), st.integers(1, 3), st.booleans())  # rows, columns, is bad


@settings(deadline=None)
@given(
    requests=st.lists(REQUEST, max_size=40),
    rows_max=st.integers(1, 8),
    delay_s=st.sampled_from([0.0, 0.01]),
    is_slow=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_batches_keep_their_size_and_answers_find_their_owner(
    requests: list[tuple[int, int, bool]], rows_max: int, delay_s: float, is_slow: bool, seed: int
) -> None:
    model = Model()

    async def main(clock: VirtualClock) -> None:
        batcher = Batcher(model.predict, BatchLimits(rows_max=rows_max, delay_max_s=delay_s), AtOnce())
        batcher.learn(1.0 if is_slow else 0.0)

        async def one(number: int, rows: int, columns: int, is_bad: bool) -> None:
            x = np.full((rows, columns), 13 if is_bad else 100 + number, np.int64)
            if is_bad:
                with pytest.raises(ValueError, match="thirteen"):
                    await batcher.submit({"x": x})
            else:
                answer = await batcher.submit({"x": x})
                assert answer["y"].tolist() == (x * 2).tolist()

        await asyncio.gather(*(one(number, *request) for number, request in enumerate(requests)))
        assert batcher.is_idle
        assert batcher.rows_largest <= rows_max

    run_virtual(main, seed=seed)
    alone = max((rows for rows, _, _ in requests), default=0)
    assert max(model.calls, default=0) <= max(rows_max, alone)


def test_requests_of_one_turn_share_one_call() -> None:
    model = Model()

    async def main(clock: VirtualClock) -> None:
        batcher = Batcher(model.predict, BatchLimits(), AtOnce())
        await asyncio.gather(*(batcher.submit({"x": np.ones((1, 2))}) for _ in range(8)))

    run_virtual(main)
    assert model.calls == [8]


def test_a_delay_gathers_requests_and_a_full_batch_does_not_wait_for_it() -> None:
    model = Model()

    async def main(clock: VirtualClock) -> None:
        batcher = Batcher(model.predict, BatchLimits(rows_max=3, delay_max_s=5.0), AtOnce())
        first = batcher.submit({"x": np.ones((1, 1))})
        await clock.sleep(1.0)
        second = batcher.submit({"x": np.ones((1, 1))})
        await asyncio.gather(first, second)
        assert clock.monotonic() == pytest.approx(5.0, abs=0.01)
        await asyncio.gather(*(batcher.submit({"x": np.ones((1, 1))}) for _ in range(3)))
        assert clock.monotonic() == pytest.approx(5.0, abs=0.01)

    run_virtual(main)
    assert model.calls == [2, 3]


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    async def main(clock: VirtualClock) -> None:
        batcher = Batcher(Model().predict, BatchLimits(waiting_max=2), AtOnce())
        waiting = [batcher.submit({"x": np.ones((1, 1))}) for _ in range(2)]
        with pytest.raises(Transient) as refused:
            batcher.submit({"x": np.ones((1, 1))})
        assert refused.value.status == 503
        assert refused.value.retry_after_s >= 1
        await asyncio.gather(*waiting)

    run_virtual(main)


def test_a_client_that_left_is_not_served() -> None:
    model = Model()

    async def main(clock: VirtualClock) -> None:
        batcher = Batcher(model.predict, BatchLimits(), AtOnce())
        gone = batcher.submit({"x": np.ones((1, 1))})
        kept = batcher.submit({"x": np.ones((1, 1))})
        gone.cancel()
        await kept

    run_virtual(main)
    assert model.calls == [1]


def test_a_model_whose_outputs_cannot_be_split_is_asked_one_by_one() -> None:
    calls: list[int] = []

    def predict(inputs: Mapping[str, Array]) -> dict[str, Array]:
        calls.append(len(inputs["x"]))
        return {"sum": inputs["x"].sum(keepdims=True).reshape(1, 1)}

    async def main(clock: VirtualClock) -> None:
        batcher = Batcher(predict, BatchLimits(), AtOnce())
        answers = await asyncio.gather(*(batcher.submit({"x": np.full((1, 1), n)}) for n in (1, 2, 3)))
        assert [int(answer["sum"][0, 0]) for answer in answers] == [1, 2, 3]

    run_virtual(main)
    assert calls == [3, 1, 1, 1]


def test_a_request_learns_how_long_it_waited_and_what_the_model_took() -> None:
    async def main(clock: VirtualClock) -> None:
        def predict(inputs: Mapping[str, Array]) -> dict[str, Array]:
            return {"y": inputs["x"]}

        limits = BatchLimits(rows_max=3, delay_max_s=2.0)
        batcher = Batcher(predict, limits, AtOnce(), now=clock.monotonic, features_ms=lambda: {"age": 1.5})
        first, second = Timing(), Timing()
        one = batcher.submit({"x": np.ones((1, 1))}, first)
        await clock.sleep(0.5)
        await asyncio.gather(one, batcher.submit({"x": np.ones((1, 1))}, second))
        assert first.queue_s == pytest.approx(2.0, abs=0.01)
        assert second.queue_s == pytest.approx(1.5, abs=0.01)
        assert (first.requests, second.requests, first.compute_s) == (2, 2, 0.0)
        line = server_timing(first)
        assert line.startswith(b"server-timing: queue;dur=2000")
        assert line.endswith(b",compute;dur=0.000,batch;desc=2,feature.age;dur=1.500\r\n")

    run_virtual(main)
