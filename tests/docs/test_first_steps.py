"""The first steps work as they are written: the page's own commands, by bash, in a fresh folder."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.factories import Factory, free_ports, wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-steps.md"
COUNTED = re.compile(r"adder-answers .* 98 % +\d")
# What the reader waits for before a block that contains the words; the page says so beside it.
PATIENCE: dict[str, Callable[[Factory], bool]] = {
    "seq 300": lambda factory: factory.phase("adder-1") == "Progressing",
    "explain rollout adder-1": lambda factory: factory.phase("adder-1") == "Aborted",
    "promote adder-2": lambda factory: factory.phase("adder-2") == "Progressing",
    "top --once": lambda factory: bool(COUNTED.search(factory.andon("objectives").stdout)),
}


def blocks(page: Path) -> list[str]:
    """What a reader of the page types."""
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


class Reader:
    """Somebody who types the blocks one after the other into one shell."""

    def __init__(self, folder: Path, name: str = "shop") -> None:
        self.folder = folder
        self.factory = Factory(folder / name)
        self.factory.root.rmdir()  # the page makes it
        self.ports = {"8790": str(self.factory.port), "8799": str(free_ports(1)[0])}
        programs = folder / "bin"
        programs.mkdir()
        for name, words in (("andon", "-m andon.app.cli.main"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}:{self.factory.environment['PATH']}"
        self.environment = {**self.factory.environment, "PATH": path}

    def type(self, block: str) -> str:
        """What a block prints; the folder and the variables go on to the next one."""
        for port, ours in self.ports.items():
            block = block.replace(port, ours)
        state = self.folder / "shell"
        before = f". {state}; " if state.exists() else f"cd {self.folder}; "
        script = f'set -e; {before}\n{block}\n{{ export -p; echo "cd $(pwd)"; }} > {state}'
        output = self.folder / "output"  # a file, because the stand-in started by the page outlives its block
        with output.open("wb") as file:
            done = subprocess.run(
                ["bash", "-c", script],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
        text = output.read_text()
        assert done.returncode == 0, (block, text)
        return text


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    said = {}
    try:
        for block in blocks(PAGE):
            for words, come in PATIENCE.items():
                if words in block:
                    wait_for(f"what comes before '{words}'", functools.partial(come, reader.factory))
            said[block.splitlines()[0]] = reader.type(block)
    finally:
        reader.factory.andon("down", code=None)
        for process in reader.factory.processes("") + stand_ins(reader):
            process.kill()
    everything = "\n".join(said.values())
    assert re.search(r"adder@2 +500 +\d", everything)  # the rows, by release and status
    assert "1 accepted." in everything  # the label
    assert re.search(r"adder@1 +7\n", everything)  # and the answer that it is about
    assert COUNTED.search(everything)
    report = said["andon explain rollout adder-1"]
    assert "Phase     Aborted" in report
    assert "breach" in report
    answer = said["export ANDON_KEY=$(andon keys create --team shop)"]
    assert "adder@1" in answer
    assert "7.0" in answer
    assert "the line runs" in said["python -m andon.testing.provider --port 8799 > provider.log &"]


def stand_ins(reader: Reader) -> list[psutil.Process]:
    """Providers that the page has started."""
    port = reader.ports["8799"]
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if port in (process.info["cmdline"] or ()) and "andon.testing.provider" in process.info["cmdline"]
    ]
