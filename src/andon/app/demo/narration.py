"""How the demo is told in a terminal: steps, facts, live progress, verdicts, the report. Writes; never decides.

Colour and live lines only on a terminal; elsewhere plain lines that read well in a log.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table

from andon.app.demo.chapter import Chapter


class Narration:
    """Tells a story on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(
            file=stream, highlight=False, soft_wrap=True, width=None if stream.isatty() else 120
        )
        self._live = False

    def title(self, text: str) -> None:
        """The first line."""
        self._say(f"\n[bold]{text}[/bold]")

    def step(self, text: str) -> None:
        """Something begins."""
        self._say(f"\n[bold cyan]▶[/bold cyan] {text}")

    def fact(self, text: str) -> None:
        """Something is so."""
        self._say(f"  {text}")

    def progress(self, text: str) -> None:
        """How it stands; on a terminal each line replaces the last."""
        if not self._console.is_terminal:
            return
        self._console.file.write(f"\r\x1b[2K  {text}")
        self._console.file.flush()
        self._live = True

    def verdict(self, chapter: Chapter) -> None:
        """How a release ended."""
        if chapter.verdict == "promoted":
            self._say(
                f"  [green]✓ promoted[/green] after {chapter.canary_requests} canary requests, {chapter.seconds:.1f} s"
            )
            return
        self._say(
            f"  [red]■ {chapter.verdict}[/red] after {chapter.canary_requests} canary requests, "
            f"{chapter.seconds:.2f} s: {evidence_text(chapter)}"
        )

    def report(self, chapters: Sequence[Chapter], seconds: float) -> None:
        """The table at the end."""
        table = Table(title=None, box=None, pad_edge=False, header_style="bold")
        for heading in ("VERSION", "VERDICT", "CANARY REQUESTS", "SECONDS", "EVIDENCE"):
            table.add_column(
                heading, justify="right" if heading in ("CANARY REQUESTS", "SECONDS") else "left"
            )
        for chapter in chapters:
            table.add_row(
                chapter.version,
                chapter.verdict,
                str(chapter.canary_requests),
                f"{chapter.seconds:.2f}",
                evidence_text(chapter) or "every gate passed at every step",
            )
        self._say("")
        self._console.print(table)
        self._say(f"\nThe whole story took {seconds:.0f} s.")

    def next_steps(self, home: str, gateway_url: str) -> None:
        """What to try on the factory that is still running."""
        self._say(
            f"\nThe factory is still running ({gateway_url}). Try next:\n"
            f"  cd {home}\n{self._reachable()}"
            "  andon get rollouts · andon explain rollout credit-2 · andon top --once · andon logs\n"
            "  andon undo --to 1 goes back to the first version; andon down stops the factory"
        )

    def _reachable(self) -> str:
        """A line that makes `andon` a command where the shell does not find it."""
        if shutil.which("andon"):
            return ""
        return f"  alias andon={Path(sys.executable).with_name('andon')}\n"

    def _say(self, text: str) -> None:
        if self._live:
            self._console.file.write("\r\x1b[2K")
            self._live = False
        self._console.print(text)


def evidence_text(chapter: Chapter) -> str:
    """Why a release was stopped, in one phrase; empty for a promotion."""
    if chapter.evidence is None or chapter.threshold is None:
        return ""
    canary, stable = chapter.canary_value, chapter.stable_value
    if chapter.gate == "latency":
        values = f"{_number(canary)} ms against {_number(stable)} ms"
    else:
        values = f"{_share(canary)} errors against {_share(stable)}"
    return f"{values}; evidence {chapter.evidence:.0f}, stops at {chapter.threshold:.0f}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"


def _share(value: float | None) -> str:
    return "?" if value is None else f"{value:.1%}"
