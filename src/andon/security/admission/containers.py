"""Archives and compressed streams: their members as bytes, bounded, and what is odd about how they are put together.

Nothing is written to disk; no member is larger in memory than the budget allows.
"""

from __future__ import annotations

import bz2
import io
import lzma
import mmap
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from andon.security.admission.budget import Budget, Exhausted
from andon.security.admission.opcodes import Buffer

_PIECE = 1 << 20
_RATIO_FROM = 16 << 20

Say = Callable[[str, str, str], None]  # rule, message, severity


def unzip(data: Buffer, budget: Budget, say: Say) -> Iterator[tuple[str, bytes]]:
    """Members by name. Whatever two readers could see differently is said."""
    try:
        archive = zipfile.ZipFile(_opened(data))
        members = archive.infolist()
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        NotImplementedError,
        struct.error,
        OverflowError,
    ) as error:
        say("zip-broken", f"The archive cannot be read: {_short(error)}.", "refused")
        return
    if data[:4] not in (b"PK\x03\x04", b"PK\x05\x06"):
        say("zip-prefix", "Other bytes stand before the archive: it is two things at once.", "refused")
    seen: set[str] = set()
    for member in members:
        budget.member()
        name = member.filename
        if name in seen:
            say("archive-duplicate", f"'{_shown(name)}' is there twice.", "refused")
        seen.add(name)
        if is_outside(name):
            say("archive-path", f"'{_shown(name)}' leads out of the archive.", "refused")
        if stat.S_ISLNK(member.external_attr >> 16):
            say("archive-link", f"'{_shown(name)}' is a link.", "refused")
        if member.flag_bits & 0x1:
            say("archive-encrypted", f"'{_shown(name)}' is encrypted: nobody can look at it.", "refused")
            continue
        if name.endswith("/") and member.file_size == 0:
            continue
        if not _is_same_in_place(data, member):
            say("zip-names", f"'{_shown(name)}' has another name or method in its own header.", "refused")
        content = _member(archive, member, budget, say)
        if content is not None:
            yield name, content
    count = _local_headers(data)
    if count > len(members):
        say("zip-hidden", f"{count - len(members)} members are not in the archive's directory.", "refused")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget, say: Say) -> bytes | None:
    name = _shown(member.filename)
    try:
        with archive.open(member) as opened:
            return _read(opened.read, budget, member.compress_size)
    except zipfile.BadZipFile as error:
        # Some loaders do not look at checksums, so that what is there is looked at all the same, and refused.
        say("zip-broken", f"'{name}' is broken: {_short(error)}.", "refused")
        return _unchecked(archive, member, budget)
    except (
        OSError,
        EOFError,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        ValueError,
        struct.error,
    ) as error:
        say("zip-broken", f"'{name}' cannot be unpacked: {_short(error)}.", "refused")
    except RuntimeError as error:  # zipfile raises it for encryption that no flag told of
        say("zip-broken", f"'{name}' cannot be unpacked: {_short(error)}.", "refused")
    return None


def _unchecked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget) -> bytes | None:
    """The member's bytes as they come out before the checksum says no."""
    try:
        with archive.open(member) as opened:
            opened._expected_crc = None  # type: ignore[attr-defined]  # noqa: SLF001  # zipfile offers no other way
            return _read(opened.read, budget, member.compress_size)
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        return None


def untar(data: Buffer, budget: Budget, say: Say) -> Iterator[tuple[str, bytes]]:
    """Members that are files, by name; links, devices and paths that lead out are said."""
    try:
        with tarfile.open(fileobj=_opened(data), mode="r:") as archive:
            for member in archive:
                budget.member()
                if is_outside(member.name):
                    say("archive-path", f"'{_shown(member.name)}' leads out of the archive.", "refused")
                if member.issym() or member.islnk():
                    say("archive-link", f"'{_shown(member.name)}' is a link.", "refused")
                elif not member.isfile() and not member.isdir():
                    say("archive-device", f"'{_shown(member.name)}' is no plain file.", "refused")
                elif member.isfile() and (opened := archive.extractfile(member)) is not None:
                    yield member.name, _read(opened.read, budget, member.size)
    except (tarfile.TarError, OSError, EOFError, ValueError, struct.error) as error:
        say("tar-broken", f"The archive cannot be read: {_short(error)}.", "refused")


def unpack(form: str, data: Buffer, budget: Budget, say: Say) -> bytes | None:
    """What a compressed stream holds; None, and said, if it cannot be unpacked. Several in a row are one."""
    makers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: _Inflating(31),
        "zlib": lambda: _Inflating(15),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(memlimit=256 << 20),
        "lzma": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=256 << 20),
    }
    found = io.BytesIO()
    rest: bytes = data[:]
    try:
        while rest:
            budget.member()
            stream = makers[form]()
            rest = _inflate(stream, rest, found, budget, len(data))
            if rest and form in ("zlib", "lzma"):
                say("stream-trailing", "Other bytes stand behind the compressed ones.", "suspicious")
                break
            if rest and not rest.strip(b"\0"):
                break
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        say("stream-broken", f"It cannot be unpacked as {form}: {_short(error)}.", "refused")
        return found.getvalue() or None
    return found.getvalue()


class _Inflating:
    """zlib's decompressor with the face of the others."""

    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data


def _inflate(stream: Any, packed: bytes, into: io.BytesIO, budget: Budget, size: int) -> bytes:
    """Unpack one stream piece by piece; what stands behind it. Raises EOFError where it is cut off."""
    at = 0
    while not stream.eof:
        piece = packed[at : at + _PIECE] if stream.needs_input else b""
        if stream.needs_input and not piece:
            raise EOFError("it is cut off")
        at += len(piece)
        out = stream.decompress(piece, _PIECE)
        _grow(into.tell() + len(out), len(out), budget, size)
        into.write(out)
    return bytes(stream.unused_data) + packed[at:]


def _read(read: Callable[[int], bytes], budget: Budget, packed: int) -> bytes:
    found = io.BytesIO()
    while piece := read(_PIECE):
        _grow(found.tell() + len(piece), len(piece), budget, packed)
        found.write(piece)
    return found.getvalue()


def _grow(total: int, added: int, budget: Budget, packed: int) -> None:
    budget.unpack(added)
    allowance = budget.allowance
    if total > allowance.member_bytes:
        raise Exhausted(f"a member of more than {allowance.member_bytes >> 20} MiB")
    if total > _RATIO_FROM and total > allowance.ratio * max(1, packed):
        raise Exhausted(f"{allowance.ratio} times more bytes out than in")


def is_outside(name: str) -> bool:
    """Whether a member's name leads out of the folder that it would be unpacked into."""
    plain = PurePosixPath(name.replace("\\", "/"))
    return plain.is_absolute() or ".." in plain.parts or "\0" in name or (len(name) > 1 and name[1] == ":")


def _is_same_in_place(data: Buffer, member: zipfile.ZipInfo) -> bool:
    """Whether the member's own header says what the directory says of it."""
    at = member.header_offset
    header = data[at : at + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        return False
    method, size = struct.unpack("<H", header[8:10])[0], struct.unpack("<H", header[26:28])[0]
    own = data[at + 30 : at + 30 + size]
    encoding = "utf-8" if member.flag_bits & 0x800 else "cp437"
    try:
        return bool(method == member.compress_type and own == member.orig_filename.encode(encoding))
    except UnicodeEncodeError:
        return False


def _local_headers(data: Buffer) -> int:
    """How many members' headers stand in the file. Bytes of a member may look like one: only the first level counts."""
    at, count = 0, 0
    while data[at : at + 4] == b"PK\x03\x04" and count < 100_000:
        header = data[at : at + 30]
        if len(header) < 30:
            break
        flags, packed = struct.unpack("<H", header[6:8])[0], struct.unpack("<I", header[18:22])[0]
        name, extra = struct.unpack("<HH", header[26:30])
        count += 1
        if flags & 0x8 or packed == 0xFFFFFFFF:  # the size stands behind the data: the walk ends here
            break
        at += 30 + name + extra + packed
    return count


def _opened(data: Buffer) -> Any:
    if isinstance(data, mmap.mmap):
        return _Mapped(data)
    return io.BytesIO(data)


class _Mapped(io.RawIOBase):
    """A mapped file as a file, so that an archive is not copied to be looked at."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._at, 2: len(self._data)}[whence]
        if base + offset < 0:
            raise OSError("a place before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else self._at + size
        taken = self._data[self._at : end]
        self._at += len(taken)
        return taken


def _short(error: BaseException) -> str:
    text = str(error).split("\n", 1)[0][:120]
    return "".join(letter if letter.isprintable() else "?" for letter in text) or type(error).__name__


def _shown(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:120])
