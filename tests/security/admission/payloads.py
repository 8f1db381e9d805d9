"""Malicious pickles, made opcode by opcode; none is ever unpickled, and each would make a file if it were."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

CANARY = "admission-canary"
COMMAND = f"touch {CANARY}"


def short(text: str) -> bytes:
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def stack_global(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def call(module: str, name: str, *texts: str, protocol: int = 4) -> bytes:
    """`module.name(*texts)`."""
    return (
        b"\x80" + bytes([protocol]) + stack_global(module, name) + b"(" + b"".join(map(short, texts)) + b"tR."
    )


def old(module: str, name: str, text: str = COMMAND) -> bytes:
    """Protocol 0: only text."""
    return f"c{module}\n{name}\n(S'{text}'\ntR.".encode()


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


def tarred(members: Mapping[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return held.getvalue()


def npy(body: bytes, descr: str = "'|O'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


def broken_crc(content: bytes) -> bytes:
    made = bytearray(zipped({"archive/data.pkl": content}, zipfile.ZIP_STORED))
    for mark, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        at = made.index(mark) + offset
        made[at : at + 4] = b"\xde\xad\xbe\xef"
    return bytes(made)


def hidden_member(content: bytes) -> bytes:
    """A member that stands before a whole archive whose directory does not name it."""
    first = zipped({"archive/data.pkl": content}, zipfile.ZIP_STORED)
    second = zipped({"readme": b"nothing"}, zipfile.ZIP_STORED)
    return first[: first.index(b"PK\x01\x02")] + second


def renamed_member(content: bytes) -> bytes:
    made = zipped({"archive/data.pkl": content}, zipfile.ZIP_STORED)
    at = made.index(b"archive/data.pkl")
    return made[:at] + b"archive/data.txt" + made[at + 16 :]


EVIL = call("os", "system", COMMAND)
BENIGN = pickle.dumps({"weights": [1.0, 2.0]})
_MEMO = (
    b"\x80\x04"
    + short("os")
    + b"\x94"
    + short("system")
    + b"\x94"
    + b"00"
    + b"h\x00h\x01\x93"
    + short(COMMAND)
    + b"\x85R."
)
_CALLS: tuple[tuple[str, str, str], ...] = (
    ("os", "system", COMMAND),
    ("posix", "system", COMMAND),
    ("nt", "system", COMMAND),
    ("os", "popen", COMMAND),
    ("os", "execvp", COMMAND),
    ("subprocess", "Popen", COMMAND),
    ("subprocess", "check_output", COMMAND),
    ("subprocess", "getoutput", COMMAND),
    ("pty", "spawn", COMMAND),
    ("commands", "getoutput", COMMAND),
    ("builtins", "eval", f"open('{CANARY}','w')"),
    ("builtins", "exec", f"open('{CANARY}','w')"),
    ("builtins", "compile", "1"),
    ("builtins", "open", CANARY),
    ("builtins", "__import__", "os"),
    ("builtins", "getattr", "x"),
    ("builtins", "globals", "x"),
    ("importlib", "import_module", "evil"),
    ("runpy", "run_path", "evil.py"),
    ("runpy", "_run_code", "evil"),
    ("timeit", "timeit", "1"),
    ("cProfile", "run", "1"),
    ("code", "interact", "1"),
    ("pdb", "run", "1"),
    ("bdb", "Bdb", "1"),
    ("webbrowser", "open", "http://example.invalid"),
    ("socket", "create_connection", "x"),
    ("pip", "main", "install"),
    ("pip._internal.cli.main", "main", "install"),
    ("ensurepip", "_run_pip", "x"),
    ("torch.hub", "load", "x"),
    ("torch.serialization", "load", "x"),
    ("torch.utils._config_module", "load_config", "x"),
    ("torch._dynamo.guards.GuardBuilder", "get", "x"),
    ("functools", "partial", "x"),
    ("functools", "reduce", "x"),
    ("operator", "attrgetter", "system"),
    ("operator", "methodcaller", "system"),
    ("numpy.testing._private.utils", "runstring", "x"),
    ("numpy.f2py.crackfortran", "getlincoef", "x"),
    ("numpy.f2py.crackfortran", "_eval_length", "x"),
    ("numpy", "load", "x"),
    ("numpy.ctypeslib", "load_library", "x"),
    ("joblib", "load", "x"),
    ("pickle", "loads", "x"),
    ("_pickle", "loads", "x"),
    ("dill", "loads", "x"),
    ("cloudpickle.cloudpickle", "_make_function", "x"),
    ("marshal", "loads", "x"),
    ("types", "FunctionType", "x"),
    ("types", "CodeType", "x"),
    ("ctypes", "CDLL", "x"),
    ("shutil", "rmtree", "x"),
    ("pathlib", "Path.unlink", "x"),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start", "x"),
    ("idlelib.run", "Executive.runcode", "x"),
    ("pydoc", "pipepager", "x"),
    ("site", "main", "x"),
    ("sklearn.utils._testing", "check_output", "x"),
    ("collections", "OrderedDict.__init__", "x"),
    ("pandas.core.computation.eval", "eval", "x"),
    ("evil_module_beside_the_model", "anything", "x"),
)


def malicious() -> dict[str, bytes]:
    """By name of a file; the names say how it is hidden."""
    found = {
        f"call-{module}-{name}.pkl".replace("/", "_"): call(module, name, text)
        for module, name, text in _CALLS
    }
    found |= {
        "protocol-0.pkl": old("os", "system"),
        "protocol-0-py2.pkl": old("__builtin__", "eval", "1"),
        "protocol-0-escaped.pkl": b"c" + b"posix\nsystem\n(S'touch \\x61'\ntR.",
        "protocol-0-as-text.txt": old("os", "system"),
        "protocol-0-as-json.json": old("os", "system"),
        "stack-global-escaped.pkl": b"S'o\\x73'\nS'sy\\x73tem'\n\x93(S'x'\ntR.",
        "stack-global-unicode.pkl": b"V\\u006fs\nVsystem\n\x93(Vx\ntR.",
        "inst.pkl": b"(S'" + COMMAND.encode() + b"'\nios\nsystem\n.",
        "obj.pkl": b"(cos\nsystem\nS'x'\no.",
        "newobj.pkl": b"\x80\x02csubprocess\nPopen\n\x8c\x01x\x85\x81.",
        "newobj-ex.pkl": b"\x80\x04" + stack_global("subprocess", "Popen") + short("x") + b"\x85}\x92.",
        "memo.pkl": _MEMO,
        "memo-text.pkl": b"S'os'\np0\n0S'system'\np1\n0g0\ng1\n\x93(S'x'\ntR.",
        "computed-name.pkl": b"\x80\x04"
        + stack_global("builtins", "str")
        + short("os")
        + b"\x85R"
        + short("system")
        + b"\x93.",
        "computed-call.pkl": b"\x80\x04"
        + stack_global("collections", "OrderedDict")
        + b")R"
        + short("x")
        + b"\x85R.",
        "build-on-class.pkl": b"\x80\x04"
        + stack_global("sklearn.svm._classes", "SVC")
        + b"}"
        + short("a")
        + short("b")
        + b"sb.",
        "extension-1.pkl": b"\x80\x02\x82\x01(S'x'\ntR.",
        "extension-4.pkl": b"\x80\x02\x84\x01\x00\x00\x00.",
        "persistent.pkl": b"Pos.system\n.",
        "bin-persistent.pkl": b"\x80\x02S'x'\nQ.",
        "out-of-band.pkl": b"\x80\x05\x97.",
        "dup.pkl": b"\x80\x02cos\nsystem\n2(S'x'\ntR.",
        "after-pop.pkl": b"\x80\x02cos\nsystem\n(S'x'\ntR0N.",
        "second.pkl": BENIGN + EVIL,
        "third.pkl": BENIGN + BENIGN + EVIL,
        "trailing.pkl": BENIGN + b"\xff\xfe something",
        "truncated.pkl": EVIL[:-1],
        "cut-in-argument.pkl": EVIL[:-6],
        "broken-after-call.pkl": EVIL[:-1] + b"\xff",
        "codec.pkl": call("_codecs", "encode", "x", "zlib_codec"),
        "memo-bomb.pkl": b"\x80\x02Nr\xff\xff\xff\x7f.",
        "length-bomb.pkl": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.",
        "protocol-9.pkl": b"\x80\x09N.",
        "named-as-text.txt": EVIL,
        "named-as-onnx.onnx": EVIL,
        "named-as-image.png": EVIL,
        "named-as-safetensors.safetensors": EVIL,
    }
    return found | _streams() | _archives()


def _streams() -> dict[str, bytes]:
    """Pickles in compressed streams and in what torch writes."""
    return {
        "gzip.pkl": gzip.compress(EVIL),
        "gzip-twice.joblib": gzip.compress(BENIGN) + gzip.compress(EVIL),
        "bzip2.pkl": bz2.compress(EVIL),
        "xz.pkl": lzma.compress(EVIL),
        "lzma.pkl": lzma.compress(EVIL, lzma.FORMAT_ALONE),
        "zlib.joblib": zlib.compress(EVIL),
        "lz4.joblib": b"\x04\x22\x4d\x18" + EVIL,
        "gzip-in-gzip.pkl": gzip.compress(gzip.compress(EVIL)),
        "torch.pt": zipped({"archive/data.pkl": EVIL, "archive/data/0": b"\0" * 8}, zipfile.ZIP_STORED),
        "torch-in-disguise.txt": zipped({"archive/data.pkl": EVIL}, zipfile.ZIP_STORED),
        "torch-storage.pt": zipped({"data/0": EVIL}),
        "torch-legacy.pt": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + EVIL,
        "torch-crc.pt": broken_crc(EVIL),
        "torch-hidden.pt": hidden_member(EVIL),
        "torch-renamed.pt": renamed_member(EVIL),
        "torch-prefix.pt": b"MZ__" + zipped({"archive/data.pkl": EVIL}),
    }


def _archives() -> dict[str, bytes]:
    """Pickles in archives and streams, and archives that are hostile themselves."""
    return {
        "zip-in-zip.zip": zipped({"inner.zip": zipped({"x": EVIL})}),
        "zip-path.zip": zipped({"../../etc/passwd": b"x"}),
        "zip-truncated.zip": zipped({"x": EVIL})[:-10],
        "pickle-and-zip.pkl": BENIGN + zipped({"x": BENIGN}),
        "tar.tar": tarred({"model/x.pkl": EVIL}),
        "tar-path.tar": tarred({"../x": b"x"}),
        "objects.npy": npy(EVIL),
        "objects-in-fields.npy": npy(EVIL, "[('a', '<f8'), ('b', '|O')]"),
        "objects.npz": zipped({"a.npy": npy(EVIL)}),
        "objects-no-header.npy": b"\x93NUMPY\x01\x00\xff\xffx",
        "npz-crc.npz": broken_crc(EVIL),
        "native.so": b"\x7fELF" + b"\0" * 60,
        "unknown.bin": bytes(range(256)) * 8,
        "zip-bomb.zip": zipped({"zeros": b"\0" * (40 << 20)}),
        "dtype-flags.pkl": pickle.dumps(0)[:0]
        + b"\x80\x04"
        + stack_global("numpy", "dtype")
        + short("O8")
        + b"\x89\x88\x87R(K\x03"
        + short("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
    }
