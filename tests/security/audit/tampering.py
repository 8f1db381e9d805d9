"""Everything that somebody with the log's folder, and perhaps its key, could do to it; and whether it is found."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from andon.kernel.clock import SystemClock
from andon.kernel.random import SystemRandom
from andon.ledger.disk import FileDisk
from andon.security.audit import tiles
from andon.security.audit.checking import Watch, check_log
from andon.security.audit.keys import rotate
from andon.security.audit.leaves import Leaf
from andon.security.audit.notes import Vkey, read_checkpoint, read_note
from andon.security.audit.sources import FolderSource, read_entries, read_payloads
from andon.security.audit.witness import SEEN, Witness
from andon.security.audit.writer import LogWriter
from tests.security.audit.logs import events, open_writer, rows, signing_key, subjects_of

PUBLIC = ("tile", "payload", "checkpoint", "keys")


@dataclass
class Scene:
    """A log, copies of how it was, and its witness."""

    folder: Path
    older: Path  # the whole folder at an earlier checkpoint
    vkey: Vkey
    watch: Watch

    def is_found(self) -> bool:
        """Whether an auditor with public keys and the witness's note sees that something is wrong."""
        return bool(check_log(FolderSource(self.folder), self.vkey, (self.watch,)).faults)


def set_up(root: Path) -> Scene:
    """A log with payloads, several checkpoints, a rotated key and a witness that has seen it all."""
    folder, older = root / "log", root / "older"
    writer, subjects = open_writer(folder), subjects_of(folder)
    vkey, at = writer.signing.vkey, 1
    witness = Witness(root / "witness", SystemClock(), SystemRandom(), log_key=str(vkey))
    for number, count in enumerate((5, 270, 3, 260, 30)):
        writer.append([*events(subjects, at, 3), *rows(at, count - 3)])
        writer.checkpoint()
        witness.look(FolderSource(folder))
        at += count
        if number == 2:
            shutil.copytree(folder, older)
            writer.signing = rotate(writer.signing, folder, FileDisk(folder), SystemRandom(), writer.size)
    note = read_note((root / "witness" / SEEN).read_text())
    witness.close()
    scene = Scene(folder, older, vkey, Watch(witness.vkey, note))
    assert not scene.is_found(), check_log(FolderSource(folder), vkey, (scene.watch,)).faults
    return scene


def tamper(scene: Scene, flips: int, seed: int = 0) -> Iterator[tuple[str, bool]]:
    """(what was done, whether it was found), one after the other, each on the log as it was."""
    chance = random.Random(seed)
    files = [path for path in sorted(scene.folder.rglob("*")) if _is_public(scene, path)]
    sizes = [path.stat().st_size for path in files]
    for _ in range(flips):
        path = chance.choices(files, sizes)[0] if chance.random() < 0.5 else chance.choice(files)
        yield f"flip in {path.name}", _tried(scene, [path], lambda path=path: _flip(path, chance))
    for path in files:
        if path.parent.suffix != ".p" or _is_last(path):
            yield f"{path} removed", _tried(scene, [path], path.unlink)
        yield f"{path} cut", _tried(scene, [path], lambda path=path: path.write_bytes(path.read_bytes()[:-1]))
        yield (
            f"{path} longer",
            _tried(scene, [path], lambda path=path: path.write_bytes(path.read_bytes() + b"\0")),
        )
    for one, other in itertools.pairwise(files):
        if one.read_bytes() != other.read_bytes():
            yield (
                f"{one} and {other} swapped",
                _tried(scene, [one, other], lambda one=one, other=other: _swap(one, other)),
            )
    yield from _bundles(scene, chance, max(10, flips // 20))
    yield from _histories(scene, chance, max(5, flips // 200))


def _bundles(scene: Scene, chance: random.Random, count: int) -> Iterator[tuple[str, bool]]:
    bundles = [path for path in sorted(scene.folder.rglob("tile/entries/**/*")) if path.is_file()]
    for _ in range(count):
        path = chance.choice(bundles)
        entries = tiles.unpack_entries(path.read_bytes())
        at, to = chance.randrange(len(entries)), chance.randrange(len(entries))
        changes = {
            "deletion": entries[:at] + entries[at + 1 :],
            "insertion": [*entries[:at], entries[to], *entries[at:]],
            "copy": [*entries[:at], entries[to], *entries[at + 1 :]]
            if entries[at] != entries[to]
            else entries[:-1],
            "reorder": _moved(entries, at, to) if at != to else entries[:-1],
            "tail cut": entries[: max(0, len(entries) - 1 - at)],
        }
        for name, changed in changes.items():
            write = lambda path=path, changed=changed: path.write_bytes(tiles.pack_entries(changed))  # noqa: E731
            yield f"{name} in {path}", _tried(scene, [path], write)


def _histories(scene: Scene, chance: random.Random, count: int) -> Iterator[tuple[str, bool]]:
    """What only a witness can see: other histories under genuine signatures."""
    leaves = _leaves(scene.folder)
    for path in (tiles.CHECKPOINT, tiles.KEYS):
        old = (scene.older / path).read_bytes()
        target = scene.folder / path
        yield (
            f"an older {path}",
            _tried(scene, [target], lambda target=target, old=old: target.write_bytes(old)),
        )
    yield "the whole folder as it was", _elsewhere(scene, lambda to: shutil.copytree(scene.older, to))
    for _ in range(count):
        at = chance.randrange(len(leaves))
        changes: dict[str, list[Leaf]] = {
            "an entry changed": [
                Leaf(one.entry.replace(b'"at":"1', b'"at":"2'), one.payload, one.source, one.position)
                if place == at
                else one
                for place, one in enumerate(leaves)
            ],
            "an entry left out": leaves[:at] + leaves[at + 1 :],
            "the tail left out": leaves[:at],
            "another tail": [*leaves[:at], *rows(100_000, len(leaves) - at + 7)],
        }
        for name, changed in changes.items():
            yield (
                f"{name}, signed with the stolen key",
                _elsewhere(scene, lambda to, changed=changed: _sign_anew(scene, to, changed)),
            )


def _sign_anew(scene: Scene, to: Path, leaves: list[Leaf]) -> None:
    to.mkdir()
    for name in ("signing.key", "keys"):
        shutil.copy(scene.folder / name, to / name)
    writer = LogWriter(FileDisk(to), signing_key(to))
    writer.append(leaves)
    writer.checkpoint()


def _elsewhere(scene: Scene, make: Callable[[Path], object]) -> bool:
    to = scene.folder.with_name("other")
    make(to)
    found = Scene(to, scene.older, scene.vkey, scene.watch).is_found()
    shutil.rmtree(to)
    return found


def _tried(scene: Scene, paths: list[Path], change: Callable[[], object]) -> bool:
    kept = [path.read_bytes() for path in paths]
    change()
    found = scene.is_found()
    for path, data in zip(paths, kept, strict=True):
        path.write_bytes(data)
    return found


def _leaves(folder: Path) -> list[Leaf]:
    source = FolderSource(folder)
    size = read_checkpoint(read_note((folder / tiles.CHECKPOINT).read_text()).text).size
    leaves = []
    for number in range(-(-size // tiles.WIDTH)):
        payloads = read_payloads(folder, number, size)
        for at, entry in enumerate(read_entries(source, number, size)):
            header = msgspec.json.decode(entry)
            leaves.append(Leaf(entry, payloads.get(at, b""), header["source"], header["position"]))
    return leaves


def _is_public(scene: Scene, path: Path) -> bool:
    return path.is_file() and path.relative_to(scene.folder).parts[0] in PUBLIC


def _is_last(path: Path) -> bool:
    """Whether a partial file is the one that the present checkpoint needs."""
    whole = path.parent.with_suffix("")
    widths = [int(one.name) for one in path.parent.iterdir()]
    return not whole.exists() and int(path.name) == max(widths)


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _moved(entries: list[bytes], at: int, to: int) -> list[bytes]:
    changed = list(entries)
    changed[at], changed[to] = changed[to], changed[at]
    return changed
