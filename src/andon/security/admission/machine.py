"""A pickle as an unpickler would see it, without unpickling: every opcode is followed, nothing is imported or called.

The decision is an allow-list: a global is fine only if it is listed by its exact module and name, and only globals are
called. What cannot be followed (computed names and calls, the extension registry, buffers out of band) is not fine.
"""

from __future__ import annotations

import _compat_pickle
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from andon.security.admission.allowed import is_allowed, is_known_danger
from andon.security.admission.budget import Budget
from andon.security.admission.joblib_arrays import WRAPPERS, after_wrapper, dtype_problem
from andon.security.admission.model import Finding
from andon.security.admission.opcodes import (
    ARGUMENTS,
    Blob,
    Buffer,
    Malformed,
    decoded_text,
    read_argument,
)

_KEPT_MAX = 64  # elements of a tuple, entries of a dict whose values are followed
_MEMO_SPARE = 1 << 20  # an unpickler in C has an array as long as the largest place
_OPERATIONS_AT_ONCE = 256


class Global:
    """A name that an unpickler would import."""

    __slots__ = ("is_allowed", "name")

    def __init__(self, name: str, allowed: bool) -> None:
        self.name = name
        self.is_allowed = allowed


class Made:
    """What a call gives: of which global, with which arguments, in which state."""

    __slots__ = ("arguments", "of", "state")

    def __init__(self, of: str, arguments: Any) -> None:
        self.of = of
        self.arguments = arguments
        self.state: Any = None


class Plain:
    """A value of a built-in type whose content is not followed."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


class Persistent:
    """What a persistent id stands for: torch's storages."""

    __slots__ = ()


_MARK = object()
_FIXED: Mapping[str, Any] = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False})
_EMPTY: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "EMPTY_LIST": lambda: Plain("list"),
        "EMPTY_TUPLE": tuple,
        "EMPTY_DICT": dict,
        "EMPTY_SET": lambda: Plain("set"),
    }
)


class Machine:
    """One pickle stream. `run` ends where STOP was; what was found is in `findings`."""

    def __init__(self, data: Buffer, path: str, budget: Budget, *, may_persist: bool = False) -> None:
        self.findings: list[Finding] = []
        self.calls = 0  # calls that an unpickler would have made
        self.nested: list[int] = []  # where pickles of object arrays begin, inside this stream
        self._data = data
        self._path = path
        self._budget = budget
        self._may_persist = may_persist
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._protocol = 0
        self._at = 0
        self._said: set[tuple[str, str]] = set()
        self._skip = 0  # where the stream goes on after an array that joblib wrote in between

    def run(self, at: int = 0) -> tuple[int, Any]:
        """Follow one pickle from `at`; where it ends, and its value. Raises `Malformed` or `Exhausted`."""
        data, size, count = self._data, len(self._data), 0
        while True:
            if at >= size:
                raise Malformed("it ends without STOP")
            self._at = at
            known = ARGUMENTS.get(data[at])
            if known is None:
                raise Malformed(f"byte 0x{data[at]:02x} is no opcode")
            name, form = known
            argument, at = read_argument(data, at + 1, form) if form else (None, at + 1)
            count += 1
            if count % _OPERATIONS_AT_ONCE == 0:
                self._budget.operate(_OPERATIONS_AT_ONCE)
            if name == "STOP":
                self._budget.operate(count % _OPERATIONS_AT_ONCE)
                return at, self._pop()
            self._skip = 0
            self._step(name, argument)
            at = self._skip or at

    def say(self, rule: str, message: str, subject: str = "", severity: str = "suspicious") -> None:
        """Add a finding, once for each rule and subject."""
        if (rule, subject) not in self._said:
            self._said.add((rule, subject))
            self.findings.append(
                Finding(
                    rule=rule,
                    severity="refused" if severity == "refused" else "suspicious",
                    path=self._path,
                    message=message,
                    subject=subject,
                    offset=self._at,
                )
            )

    def _step(self, name: str, argument: Any) -> None:
        if name in _FIXED:
            self._stack.append(_FIXED[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name.startswith(
            ("BIN", "SHORT_BIN", "LONG", "FLOAT", "INT", "STRING", "UNICODE", "BYTEARRAY")
        ) and (name not in _NOT_VALUES):
            self._stack.append(_value(name, argument))
        else:
            _HANDLERS[name](self, argument)

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise Malformed("the stack is empty where a value is needed")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise Malformed("the stack is empty where a value is needed")
        return self._stack[-1]

    def _to_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while place >= 0 and self._stack[place] is not _MARK:
            place -= 1
        if place < 0:
            raise Malformed("there is no mark")
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    def mark(self, _: Any) -> None:
        """MARK."""
        self._stack.append(_MARK)

    def pop(self, _: Any) -> None:
        """POP, of a value or a mark."""
        if not self._stack:
            raise Malformed("the stack is empty where a value is needed")
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        """POP_MARK."""
        self._to_mark()

    def dup(self, _: Any) -> None:
        """DUP."""
        self._stack.append(self._top())

    def protocol(self, number: int) -> None:
        """PROTO."""
        if number > 5:
            raise Malformed(f"there is no protocol {number}")
        self._protocol = number

    def frame(self, size: int) -> None:
        """FRAME."""
        if size > len(self._data) - self._at:
            raise Malformed("a frame is longer than the file")

    def tuple_of(self, values: list[Any]) -> None:
        """TUPLE and its short forms."""
        self._stack.append(tuple(values) if len(values) <= _KEPT_MAX else Plain("tuple"))

    def tuple_short(self, count: int) -> None:
        """TUPLE1, TUPLE2, TUPLE3."""
        taken = [self._pop() for _ in range(count)]
        self.tuple_of(taken[::-1])

    def to_plain(self, kind: str) -> None:
        """LIST, FROZENSET: all to the mark."""
        self._to_mark()
        self._stack.append(Plain(kind))

    def dict_of(self, _: Any) -> None:
        """DICT."""
        values = self._to_mark()
        made: dict[Any, Any] = {}
        self._stack.append(made)
        _fill(made, values)

    def add(self, values: list[Any]) -> None:
        """APPEND, APPENDS, ADDITEMS: onto what is below. `append` of an instance would be called."""
        below = self._top()
        if isinstance(below, Made | Global | Persistent):
            self._used(below, "append")

    def append_one(self, _: Any) -> None:
        """APPEND."""
        value = self._pop()
        self.add([value])

    def append_all(self, _: Any) -> None:
        """APPENDS, ADDITEMS."""
        self.add(self._to_mark())

    def set_one(self, _: Any) -> None:
        """SETITEM."""
        value, key = self._pop(), self._pop()
        self.set_items([key, value])

    def set_all(self, _: Any) -> None:
        """SETITEMS."""
        self.set_items(self._to_mark())

    def set_items(self, values: list[Any]) -> None:
        """Key and value by turns into what is below."""
        below = self._top()
        if isinstance(below, dict):
            _fill(below, values)
        elif isinstance(below, Made | Global | Persistent):
            self._used(below, "__setitem__")

    def _used(self, target: Any, how: str) -> None:
        """A method of an instance would be called: fine where the class is listed."""
        if isinstance(target, Made):
            return  # its global was judged where it was named
        self.say("pickle-target", f"{how} is used on something that is no instance of a listed class.", how)

    def get(self, place: Any) -> None:
        """GET, BINGET, LONG_BINGET."""
        number = _integer(place) if isinstance(place, bytes) else place
        if number not in self._memo:
            raise Malformed(f"place {number} of the memo is empty")
        self._stack.append(self._memo[number])

    def put(self, place: Any) -> None:
        """PUT, BINPUT, LONG_BINPUT."""
        number = _integer(place) if isinstance(place, bytes) else place
        if number > len(self._memo) + _MEMO_SPARE:
            self.say("pickle-memo", f"It asks for a memo of {number} places: memory that it does not fill.")
        self._memo[number] = self._top()

    def memoize(self, _: Any) -> None:
        """MEMOIZE."""
        self._memo[len(self._memo)] = self._top()

    def name_global(self, names: tuple[str, str]) -> None:
        """GLOBAL."""
        self._stack.append(self._named(*names))

    def stack_global(self, _: Any) -> None:
        """STACK_GLOBAL: its names may come from anywhere; computed ones are not followed."""
        name, module = self._pop(), self._pop()
        if isinstance(name, str) and isinstance(module, str):
            self._stack.append(self._named(module, name))
        else:
            self.say("pickle-computed-name", "The name of a global is computed: it cannot be known.")
            self._stack.append(Global("?", False))

    def _named(self, module: str, name: str) -> Global:
        if self._protocol < 3:
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[(module, name)]
            elif module in _compat_pickle.IMPORT_MAPPING:
                module = _compat_pickle.IMPORT_MAPPING[module]
        full = f"{module}.{name}"
        allowed = is_allowed(module, name)
        if not allowed:
            shown = "".join(letter if letter.isprintable() else "?" for letter in full[:120])
            if is_known_danger(module, name):
                message = f"Loading it would use {shown}, by which code runs."
                self.say("pickle-danger", message, shown, "refused")
            else:
                self.say("pickle-global", f"Loading it would use {shown}, which is not on the list.", shown)
        return Global(full, allowed)

    def extension(self, number: int) -> None:
        """EXT1, EXT2, EXT4: names that only the reader's registry knows."""
        self.say("pickle-extension", f"It uses number {number} of the extension registry.", str(number))
        self._stack.append(Global("?", False))

    def reduce(self, _: Any) -> None:
        """REDUCE, NEWOBJ: a call."""
        arguments, called = self._pop(), self._pop()
        self._call(called, arguments)

    def new_extended(self, _: Any) -> None:
        """NEWOBJ_EX."""
        self._pop()
        self.reduce(None)

    def instance(self, names: tuple[str, str]) -> None:
        """INST."""
        arguments = tuple(self._to_mark()[:_KEPT_MAX])
        self._call(self._named(*names), arguments)

    def object_of(self, _: Any) -> None:
        """OBJ."""
        values = self._to_mark()
        if not values:
            raise Malformed("an object has no class")
        self._call(values[0], tuple(values[1:_KEPT_MAX]))

    def _call(self, called: Any, arguments: Any) -> None:
        self.calls += 1
        if not isinstance(called, Global):
            self.say("pickle-computed-call", "It calls something that is not named but computed.")
            self._stack.append(Made("?", arguments))
            return
        if called.name == "_codecs.encode" and not (
            isinstance(arguments, tuple) and len(arguments) == 2 and arguments[1] == "latin1"
        ):
            self.say("pickle-codec", "It encodes by a codec other than latin1.", called.name)
        if called.name == "builtins.bytearray" and isinstance(arguments, tuple):
            if arguments and isinstance(arguments[0], int):
                self.say("pickle-memory", "It asks for memory that it does not fill.", called.name)
        self._stack.append(Made(called.name, arguments))

    def build(self, _: Any) -> None:
        """BUILD: `__setstate__` or the instance's dict."""
        self.calls += 1
        state, target = self._pop(), self._top()
        if not isinstance(target, Made):
            kind = target.name if isinstance(target, Global) else "what is no instance"
            self.say("pickle-build", f"It sets the state of {kind}.", kind)
            return
        target.state = state
        if target.of == "numpy.dtype" and (problem := dtype_problem(target)):
            self.say("pickle-dtype", f"It makes a type of numpy whose bytes cannot be trusted: {problem}.")
        if target.of in WRAPPERS:
            self._after_array(target)

    def _after_array(self, wrapper: Made) -> None:
        """joblib writes an array's bytes after its wrapper, in the middle of the stream."""
        start = self._at + 1
        place = after_wrapper(wrapper.state, self._data, start)
        if place.problem:
            raise Malformed(place.problem)
        self._skip = place.end
        if place.is_pickled:
            inner = Machine(self._data, self._path, self._budget)
            try:
                self._skip, _ = inner.run(start)
            finally:
                for one in inner.findings:
                    self.say(one.rule, one.message, one.subject, one.severity)
        wrapper.of = "numpy.ndarray"

    def persistent(self, argument: Any) -> None:
        """PERSID, BINPERSID."""
        if argument is None:
            self._pop()
        if not self._may_persist:
            self.say("pickle-persistent", "It refers to objects outside of itself.")
        self._stack.append(Persistent())

    def buffer(self, _: Any) -> None:
        """NEXT_BUFFER: data out of band."""
        self.say("pickle-out-of-band", "It takes buffers from outside, which nobody has scanned.")
        self._stack.append(Plain("buffer"))

    def readonly(self, _: Any) -> None:
        """READONLY_BUFFER."""
        self._top()


_NOT_VALUES = frozenset({"BINGET", "BINPUT", "LONG_BINGET", "LONG_BINPUT", "BINPERSID"})

_HANDLERS: Mapping[str, Callable[[Machine, Any], None]] = MappingProxyType(
    {
        "MARK": Machine.mark,
        "POP": Machine.pop,
        "POP_MARK": Machine.pop_mark,
        "DUP": Machine.dup,
        "PROTO": Machine.protocol,
        "FRAME": Machine.frame,
        "TUPLE": lambda machine, _: machine.tuple_of(machine._to_mark()),  # noqa: SLF001  # its own table
        "TUPLE1": lambda machine, _: machine.tuple_short(1),
        "TUPLE2": lambda machine, _: machine.tuple_short(2),
        "TUPLE3": lambda machine, _: machine.tuple_short(3),
        "LIST": lambda machine, _: machine.to_plain("list"),
        "FROZENSET": lambda machine, _: machine.to_plain("frozenset"),
        "DICT": Machine.dict_of,
        "APPEND": Machine.append_one,
        "APPENDS": Machine.append_all,
        "ADDITEMS": Machine.append_all,
        "SETITEM": Machine.set_one,
        "SETITEMS": Machine.set_all,
        "GET": Machine.get,
        "BINGET": Machine.get,
        "LONG_BINGET": Machine.get,
        "PUT": Machine.put,
        "BINPUT": Machine.put,
        "LONG_BINPUT": Machine.put,
        "MEMOIZE": Machine.memoize,
        "GLOBAL": Machine.name_global,
        "STACK_GLOBAL": Machine.stack_global,
        "EXT1": Machine.extension,
        "EXT2": Machine.extension,
        "EXT4": Machine.extension,
        "REDUCE": Machine.reduce,
        "NEWOBJ": Machine.reduce,
        "NEWOBJ_EX": Machine.new_extended,
        "INST": Machine.instance,
        "OBJ": Machine.object_of,
        "BUILD": Machine.build,
        "PERSID": Machine.persistent,
        "BINPERSID": Machine.persistent,
        "NEXT_BUFFER": Machine.buffer,
        "READONLY_BUFFER": Machine.readonly,
    }
)


def _fill(made: dict[Any, Any], values: list[Any]) -> None:
    if len(values) % 2:
        raise Malformed("a key has no value")
    for place in range(0, len(values), 2):
        key = values[place]
        if isinstance(key, str) and len(made) < _KEPT_MAX:
            made[key] = values[place + 1]


def _value(name: str, argument: Any) -> Any:
    if name in ("STRING", "UNICODE"):
        return decoded_text(argument, name == "UNICODE")
    if name in ("INT", "LONG"):
        return Blob(len(argument)) if len(argument) > 20 else _integer(argument)
    if name == "FLOAT":
        return Blob(8)
    return argument


def _integer(line: bytes) -> int:
    digits = line.strip().removesuffix(b"L")
    if len(digits) > 20 or not digits.removeprefix(b"-").isdigit():
        raise Malformed("a number is none")
    return int(digits)
