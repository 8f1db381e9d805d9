"""Opening a database: it is brought to the head under a lock, a newer or damaged one is refused, nothing is lost."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from andon.kernel.clock import SystemClock
from andon.kernel.errors import Permanent, Refused, Transient
from andon.store.model import Record
from andon.store.runner import ThreadRunner
from andon.store.schema import STEPS
from andon.store.sql import open_store
from andon.store.tables import metadata
from tests.store.conftest import HandClock, Opener


def test_the_steps_make_exactly_the_tables_that_the_code_knows(opened: Opener) -> None:
    async def main() -> None:
        async with opened() as store:
            with store._engine.connect() as connection:
                assert compare_metadata(MigrationContext.configure(connection), metadata) == []

    asyncio.run(main())


def test_the_code_names_every_step_in_order() -> None:
    config = Config()
    config.set_main_option("script_location", "andon.store:migrations")
    config.set_main_option("path_separator", "os")
    found = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == STEPS


def test_a_second_opening_finds_everything_and_does_not_load_the_migrations(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/state.db"
    script = (
        "import asyncio, sys\n"
        "from andon.kernel.clock import SystemClock\n"
        "from andon.store.sql import open_store\n"
        "async def main():\n"
        f"    store = await open_store({url!r}, SystemClock())\n"
        "    print(await store.transact(lambda unit: unit.get('E', 'a')) is not None, 'alembic' in sys.modules)\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )

    async def main() -> None:
        store = await open_store(url, SystemClock())
        await store.transact(lambda unit: unit.put(Record(kind="E", name="a", spec={})))
        await store.close()

    asyncio.run(main())
    src = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PYTHONPATH": src},
    )
    assert done.stdout.split() == ["True", "False"]


def test_a_newer_database_is_refused_and_left_alone(opened: Opener, url: str) -> None:
    if url == "sqlite://":
        pytest.skip("memory is always new")

    async def main() -> None:
        async with opened() as store:
            with store._engine.begin() as connection:
                connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(Permanent, match="9999") as caught:
            async with opened():
                pass
        assert caught.value.code == "store_newer"

    asyncio.run(main())


def test_two_who_open_an_empty_database_at_once_both_get_it(opened: Opener, url: str) -> None:
    if url == "sqlite://":
        pytest.skip("memory is never shared")

    async def main() -> None:
        async def one() -> None:
            async with opened() as store:
                await store.transact(lambda unit: unit.list("E"))

        await asyncio.gather(*(one() for _ in range(3)))

    asyncio.run(main())


def test_the_file_is_readable_by_its_owner_only_and_written_ahead(tmp_path: Path) -> None:
    async def main() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/state.db", SystemClock())
        with store._engine.connect() as connection:
            pragmas = [
                connection.execute(sa.text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous")
            ]
        assert pragmas == ["wal", 2]
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert modes == {0o600}
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["", "mysql://x/y", "not a url", "sqlite:/x y z://"])
def test_an_unknown_url_is_refused_with_the_accepted_forms(url: str) -> None:
    with pytest.raises(Refused) as caught:
        asyncio.run(_open(url))
    assert "sqlite:///" in caught.value.hint


async def _open(url: str) -> None:
    await open_store(url, SystemClock())


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is a text of some length, not a database\n" * 100)
    with pytest.raises(Permanent) as caught:
        asyncio.run(_open(f"sqlite:///{tmp_path}/state.db"))
    assert caught.value.code == "store_corrupt"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent) as caught:
        asyncio.run(_open(f"sqlite:///{tmp_path}/file/state.db"))
    assert caught.value.code == "store_unusable"


def test_a_server_that_does_not_answer_is_transient() -> None:
    with pytest.raises(Transient):
        asyncio.run(_open("postgresql://andon@127.0.0.1:1/none"))


def test_too_much_waiting_work_is_refused() -> None:
    async def main() -> None:
        runner = ThreadRunner(1, waiting_max=2)
        done = [runner.run(lambda: 1), runner.run(lambda: 2)]
        with pytest.raises(Transient):
            runner.run(lambda: 3)
        assert await asyncio.gather(*done) == [1, 2]
        assert await runner.run(lambda: 4) == 4
        runner.close()

    asyncio.run(main())


def test_a_cancelled_verb_may_still_have_happened_and_the_store_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/state.db", HandClock())
        task = asyncio.ensure_future(
            store.transact(lambda unit: unit.put(Record(kind="E", name="a", spec={})))
        )
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(await store.transact(lambda unit: unit.list("E"))) in (0, 1)
        await store.close()

    asyncio.run(main())
