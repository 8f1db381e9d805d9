"""The virtual loop: waiting is free, order is seeded, and what cannot happen is said."""

from __future__ import annotations

import asyncio
import socket

import pytest

from andon.testing.loop import SimulationStuckError, VirtualClock, run_virtual


def finish_order(seed: int | None) -> list[int]:
    async def main(clock: VirtualClock) -> list[int]:
        order: list[int] = []

        async def worker(number: int) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            order.append(number)

        await asyncio.gather(*(worker(number) for number in range(20)))
        return order

    return run_virtual(main, seed=seed)


def test_waiting_a_day_takes_no_time_and_lands_on_the_day() -> None:
    async def main(clock: VirtualClock) -> float:
        await clock.sleep(86_400)
        return clock.monotonic()

    assert run_virtual(main) == pytest.approx(86_400, abs=0.01)


def test_equal_seeds_give_equal_orders_and_other_seeds_other_orders() -> None:
    assert finish_order(7) == finish_order(7)
    assert len({tuple(finish_order(seed)) for seed in range(8)}) > 4


def test_without_a_seed_order_is_first_in_first_out() -> None:
    assert finish_order(None) == list(range(20))


def test_waiting_for_what_cannot_happen_is_an_error_not_a_hang() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SimulationStuckError):
        run_virtual(main)


def test_a_task_left_behind_fails_the_run() -> None:
    async def main(clock: VirtualClock) -> None:
        task = asyncio.create_task(clock.sleep(5))
        await asyncio.sleep(0)
        assert not task.done()

    with pytest.raises(AssertionError, match="left running"):
        run_virtual(main)


def test_a_simulation_that_opens_a_socket_is_told() -> None:
    async def main(clock: VirtualClock) -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_recv(left, 1)
        finally:
            left.close()
            right.close()

    with pytest.raises(SimulationStuckError, match="sockets"):
        run_virtual(main)
