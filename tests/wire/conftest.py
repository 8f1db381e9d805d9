"""Both event loops on which the wire must run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on one of the loops and fails if it leaves a task behind."""

    def runner(main: Coroutine[Any, Any, Any]) -> Any:
        async def checked() -> Any:
            result = await main
            for _ in range(3):
                await asyncio.sleep(0)
            leaked = asyncio.all_tasks() - {asyncio.current_task()}
            assert not leaked
            return result

        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as loop:
            return loop.run(checked())

    return runner
