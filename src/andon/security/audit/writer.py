"""The writer of the log: leaves in, durable; then a signed checkpoint over them. Survives being killed anywhere.

Order is the whole of it. Payloads and entries are durable before their hashes are, those before a checkpoint is signed,
and what was begun is finished byte for byte before anything newer. On opening, entries beyond the last checkpoint are
taken over, never rewritten: whatever was ever signed is a beginning of what will be. Blocking; one writer per folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from andon.kernel.errors import Permanent, Refused
from andon.kernel.ports import Disk
from andon.security.audit import tiles
from andon.security.audit.hashing import EMPTY_ROOT, leaf_hash, node_hash, root_of
from andon.security.audit.keys import SigningKey
from andon.security.audit.leaves import Leaf, read_place
from andon.security.audit.notes import Checkpoint, Note, read_checkpoint, read_note, read_vkey, signed_by
from andon.security.audit.tiles import WIDTH

STATE: Final = "state.json"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Positions of the sources at a size of the log: found again from the entries if it is lost."""

    size: int
    positions: dict[str, int]


class _Tree(msgspec.Struct):
    """The right edge of the log."""

    size: int
    levels: list[list[bytes]]  # hashes of the partial tile at each level
    entries: list[bytes]  # of the partial bundle
    payloads: dict[int, bytes]
    positions: dict[str, int]

    def copy(self) -> _Tree:
        return _Tree(
            self.size,
            [list(level) for level in self.levels],
            list(self.entries),
            dict(self.payloads),
            dict(self.positions),
        )

    def root(self) -> bytes:
        """Perfect subtrees from right to left, each under the larger one before it (RFC 9162 §2.1.2)."""
        root: bytes | None = None
        for level in self.levels:
            end = len(level)
            while end:
                span = end & -end
                peak = root_of(level[end - span : end])
                root = peak if root is None else node_hash(peak, root)
                end -= span
        return EMPTY_ROOT if root is None else root


_File = tuple[str, bytes]


class LogWriter:
    """One log. Open it once; not thread-safe."""

    def __init__(
        self, disk: Disk, signing: SigningKey, clear: Callable[[str], None] = lambda folder: None
    ) -> None:
        """Raises `Permanent` (`audit_log_damaged`) where going on would mean to sign what is not sound; OSError.

        `clear` removes an empty folder.
        """
        self._disk = disk
        self._clear = clear
        self.signing = signing
        self._pending: tuple[list[_File], _Tree] | None = None
        self._full: list[str] = []  # folders of partial tiles that are full now
        self.signed = Checkpoint(signing.name, 0, EMPTY_ROOT)
        self._tree = self._recover()

    @property
    def size(self) -> int:
        """Leaves that are durable, signed or not."""
        return self._tree.size

    @property
    def positions(self) -> dict[str, int]:
        """The last position of each source that is in the log."""
        return self._tree.positions

    def append(self, leaves: Sequence[Leaf]) -> None:
        """Return once the leaves are durable. After an OSError only `finish` may follow, which tries again."""
        if self._pending is not None:
            raise RuntimeError("what was begun must be finished first")
        self._begin(leaves)
        self.finish()

    def finish(self) -> None:
        """Write what is left of what was begun. Raises OSError."""
        if self._pending is None:
            return
        files, tree = self._pending
        for path, data in files:
            self._disk.replace(path, data)
        self._pending, self._tree = None, tree

    def checkpoint(self) -> Note | None:
        """Sign what is durable; None where that is signed already. Raises OSError."""
        self.finish()
        tree = self._tree
        if tree.size == self.signed.size and self._is_signed_by_present():
            return None
        for level, hashes in enumerate(tree.levels):
            if hashes:
                number = tree.size >> (tiles.HEIGHT * level) >> tiles.HEIGHT
                self._disk.replace(tiles.tile_path(level, number, len(hashes)), b"".join(hashes))
        checkpoint = Checkpoint(self.signing.name, tree.size, tree.root())
        note = self.signing.sign(checkpoint.text)
        self._disk.replace(tiles.CHECKPOINT, str(note).encode())
        self.signed, self._signer = checkpoint, str(self.signing.vkey)
        self._disk.replace(STATE, msgspec.json.encode(State(size=tree.size, positions=tree.positions)))
        self._tidy()
        return note

    def _begin(self, leaves: Sequence[Leaf]) -> None:
        tree, files = self._tree.copy(), list[_File]()
        for leaf in leaves:
            if len(leaf.entry) > tiles.ENTRY_BYTES_MAX:
                raise Refused("audit_form", "An entry is too long.", hint="Nothing of this kind is logged.")
            last = tree.positions.get(leaf.source, -1)
            if leaf.position <= last:
                raise Refused("audit_form", f"{leaf.source} {leaf.position} is in the log already.", hint="")
            tree.positions[leaf.source] = leaf.position
            if leaf.payload:
                tree.payloads[len(tree.entries)] = leaf.payload
            tree.entries.append(leaf.entry)
            tree.size += 1
            self._push(tree, 0, leaf_hash(leaf.entry), files)
        if tree.entries:
            number = tree.size // WIDTH
            files += self._bundle(tree, number, len(tree.entries))
        # Entries before the tiles over them: what is taken over after a crash is found from entries alone.
        files.sort(key=lambda file: file[0].startswith("tile/") and not file[0].startswith("tile/entries"))
        self._pending = (files, tree)

    def _bundle(self, tree: _Tree, number: int, width: int) -> list[_File]:
        files = []
        if tree.payloads:
            files.append((tiles.payload_path(number, width), tiles.pack_payloads(tree.payloads)))
        files.append((tiles.entries_path(number, width), tiles.pack_entries(tree.entries)))
        return files

    def _push(self, tree: _Tree, level: int, hash_: bytes, files: list[_File]) -> None:
        if level == len(tree.levels):
            tree.levels.append([])
        hashes = tree.levels[level]
        hashes.append(hash_)
        if len(hashes) < WIDTH:
            return
        number = (tree.size >> (tiles.HEIGHT * level) >> tiles.HEIGHT) - 1
        files.append((tiles.tile_path(level, number), b"".join(hashes)))
        self._full.append(tiles.tile_path(level, number) + ".p")
        tree.levels[level] = []
        if level == 0:
            files += self._bundle(tree, number, WIDTH)
            self._full += [tiles.entries_path(number) + ".p", tiles.payload_path(number) + ".p"]
            tree.entries, tree.payloads = [], {}
        self._push(tree, level + 1, root_of(hashes), files)

    def _tidy(self) -> None:
        """Partial tiles are kept for readers until the full one is signed (C2SP tlog-tiles); of payloads, the last."""
        current = tiles.payload_path(self.signed.size // WIDTH) + ".p"
        for name in sorted(self._disk.list(current), key=lambda name: int(name) if name.isdecimal() else 0)[
            :-1
        ]:
            self._disk.remove(f"{current}/{name}")
        for folder in self._full:
            for name in self._disk.list(folder):
                self._disk.remove(f"{folder}/{name}")
            self._clear(folder)
        self._full = []

    def _is_signed_by_present(self) -> bool:
        return self.signed.size == 0 or self._signer == str(self.signing.vkey)

    def _recover(self) -> _Tree:
        self._signer = ""
        note = self._signed_note()
        if note is not None:
            self.signed = read_checkpoint(note.text)
        tree = self._tree_at(self.signed)
        self._restore_positions(tree)
        files: list[_File] = []
        for entry, payload in self._entries_after(tree):
            source, position = read_place(entry)
            if position <= tree.positions.get(source, -1):
                raise _damaged("entries after the last checkpoint repeat what came before")
            tree.positions[source] = position
            if payload:
                tree.payloads[len(tree.entries)] = payload
            tree.entries.append(entry)
            tree.size += 1
            self._push(tree, 0, leaf_hash(entry), files)
        for path, data in files:
            self._disk.replace(path, data)
        self._forget_strays(tree)
        return tree

    def _forget_strays(self, tree: _Tree) -> None:
        """Ciphertexts whose entries were never written, and partial tiles that nobody needs any more."""
        number, width = divmod(tree.size, WIDTH)
        path = tiles.payload_path(number)
        self._disk.remove(path)
        for name in self._disk.list(path + ".p"):
            if not name.isdecimal() or int(name) > width:
                self._disk.remove(f"{path}.p/{name}")
        for level in range(len(tree.levels)):
            past = (self.signed.size >> (tiles.HEIGHT * level) >> tiles.HEIGHT) - 1
            if past >= 0:
                self._full.append(tiles.tile_path(level, past) + ".p")
        if self.signed.size >= WIDTH:
            past = self.signed.size // WIDTH - 1
            self._full += [tiles.entries_path(past) + ".p", tiles.payload_path(past) + ".p"]

    def _signed_note(self) -> Note | None:
        try:
            raw = self._disk.read(tiles.CHECKPOINT)
        except FileNotFoundError:
            return None
        try:
            note = read_note(raw.decode())
            keys = [read_vkey(one.vkey) for one in self.signing.keys]
            signer = next((key for key in reversed(keys) if signed_by(note, key)), None)
            if signer is None or read_checkpoint(note.text).origin != self.signing.name:
                raise _damaged("the checkpoint is not signed by one of the log's own keys")
        except (Refused, UnicodeDecodeError) as error:
            raise _damaged("the checkpoint is not one") from error
        self._signer = str(signer)
        return note

    def _tree_at(self, checkpoint: Checkpoint) -> _Tree:
        """The right edge at a checkpoint, checked against its root."""
        size, tree = checkpoint.size, _Tree(0, [], [], {}, {})
        number, width = divmod(size, WIDTH)
        if width:
            found = self._widest(number)
            if len(found) < width:
                raise _damaged("entries that were signed are missing")
            tree.entries = found[:width]
            tree.payloads = {at: data for at, data in self._payloads(number).items() if at < width}
        tree.levels = [[leaf_hash(entry) for entry in tree.entries]]
        level = 1
        while size >> (tiles.HEIGHT * level):
            number, width = divmod(size >> (tiles.HEIGHT * level), WIDTH)
            hashes = self._read(tiles.tile_path(level, number, width)) if width else b""
            if hashes is None or len(hashes) != 32 * width:
                hashes = self._read(tiles.tile_path(level, number)) or b""
            tree.levels.append([hashes[at : at + 32] for at in range(0, 32 * width, 32)])
            level += 1
        tree.size = size
        if tree.root() != checkpoint.root:
            raise _damaged("its entries and hashes do not give the root that was signed")
        return tree

    def _entries_after(self, tree: _Tree) -> list[tuple[bytes, bytes]]:
        """Entries that are durable and not signed, with their ciphertexts, as far as they follow one another."""
        found: list[tuple[bytes, bytes]] = []
        number, skip = divmod(tree.size, WIDTH)
        while True:
            entries = self._widest(number)
            payloads = self._payloads(number) if len(entries) > skip else {}
            found += [(entry, payloads.get(at, b"")) for at, entry in enumerate(entries) if at >= skip]
            if len(entries) < WIDTH:
                return found
            number, skip = number + 1, 0

    def _widest(self, number: int) -> list[bytes]:
        """The entries of a bundle: the whole one, or the partial one that has most."""
        return tiles.unpack_entries(self._widest_file(tiles.entries_path(number)))

    def _payloads(self, number: int) -> dict[int, bytes]:
        return tiles.unpack_payloads(self._widest_file(tiles.payload_path(number)))

    def _widest_file(self, path: str) -> bytes:
        whole = self._read(path)
        if whole is not None:
            return whole
        widths = [int(name) for name in self._disk.list(path + ".p") if name.isdecimal()]
        return (self._read(f"{path}.p/{max(widths)}") or b"") if widths else b""

    def _restore_positions(self, tree: _Tree) -> None:
        """Positions at the last checkpoint: what was written down, and from entries what came after that."""
        known = State(size=0, positions={})
        raw = self._read(STATE)
        if raw is not None:
            try:
                read = msgspec.json.decode(raw, type=State)
                known = read if read.size <= tree.size else known
            except (msgspec.MsgspecError, ValueError):
                pass  # then all entries are read again
        tree.positions = dict(known.positions)
        for number in range(known.size // WIDTH, -(-tree.size // WIDTH)):
            for at, entry in enumerate(self._widest(number), number * WIDTH):
                if known.size <= at < tree.size:
                    source, position = read_place(entry)
                    tree.positions[source] = position

    def _read(self, path: str) -> bytes | None:
        try:
            return self._disk.read(path)
        except FileNotFoundError:
            return None


def _damaged(what: str) -> Permanent:
    return Permanent(
        "audit_log_damaged",
        f"The Merkle log cannot be continued: {what}.",
        hint="Nothing was changed. andon audit verify finds the place; restore the folder from a copy.",
    )
