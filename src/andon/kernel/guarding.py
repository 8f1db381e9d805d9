"""Guards as the gateway knows them: the texts of a request or an answer, who judges them, and what becomes of them.

The port between `gateway`, which takes texts out of every dialect and enforces, and `security/guards`, which judges. A
plan is immutable and made at adoption; a judging belongs to one exchange and never outlives its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol

from andon.kernel.errors import AndonError
from andon.kernel.labels import Label
from andon.kernel.snapshot import Snapshot

# Whose words a text is: the caller's; the model's own, from earlier turns; what was retrieved or came from a tool; the
# model's answer.
Kind = Literal["input", "history", "context", "output"]
KINDS: Final[tuple[Kind, ...]] = ("input", "history", "context", "output")


class Piece(NamedTuple):
    """One text."""

    kind: Kind
    path: str  # "messages[2].content"
    text: str
    escaped: bool = False  # JSON inside a text, so that characters may be written as escapes


class Edit(NamedTuple):
    """What takes the place of a part of a text."""

    start: int  # in characters
    end: int  # exclusive
    text: str


class Offer(NamedTuple):
    """A tool that a request offers to the model."""

    name: str
    parameters: Mapping[str, Any]  # its JSON Schema


class ToolCall(NamedTuple):
    """A tool that the model asks for."""

    name: str
    arguments: str  # JSON


class Content:
    """A request or an answer in the canonical form of every dialect."""

    __slots__ = ("answers", "calls", "depth", "messages", "offers", "pieces")

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.messages = 0  # of a chat
        self.depth = 0  # of the JSON
        self.offers: Sequence[Offer] = ()  # of the request
        self.calls: Sequence[ToolCall] = ()  # of the answer
        self.answers: Sequence[str] = ()  # the main text of each choice of an answer that has one


NO_EDITS: Final[Mapping[int, Sequence[Edit]]] = MappingProxyType({})


class Judgement(NamedTuple):
    """What is to become of a content."""

    refusal: AndonError | None = None
    edits: Mapping[int, Sequence[Edit]] = NO_EDITS  # by index of the piece; in order, never overlapping
    unjudged: frozenset[int] = frozenset()  # pieces that a guard should have judged and could not


class Watch(Protocol):
    """One text of a streamed answer while it arrives."""

    decided: int  # characters, from the beginning, that can go to the client
    edits: list[Edit]  # of what is decided; the gateway drops those that it has applied
    judged: bool  # False once a guard failed and is passed over

    def feed(self, text: str) -> AndonError | None:
        """Take in what follows; the refusal that ends the stream, if any."""
        ...

    def close(self) -> AndonError | None:
        """Nothing follows: everything is decided."""
        ...


class Saying(Protocol):
    """A verdict, as far as it is counted."""

    @property
    def guard(self) -> str: ...
    @property
    def place(self) -> Literal["input", "context", "output"]: ...
    @property
    def mode(self) -> Literal["shadow", "enforce"]: ...
    @property
    def action(self) -> str: ...
    @property
    def latency_us(self) -> int: ...


class Judging(Protocol):
    """The guards of one exchange at work."""

    @property
    def label(self) -> Label:
        """The highest data class that findings have called for."""
        ...

    @property
    def spent_us(self) -> int:
        """Time in guards."""
        ...

    async def judge(self, content: Content) -> Judgement:
        """Judge a whole request, or a whole answer."""
        ...

    def watch(self, piece: Piece) -> Watch:
        """Begin a text that comes in parts; the piece's text is empty."""
        ...

    def verdicts(self) -> Sequence[Saying]:
        """What every guard said until now, in the order of the endpoint's guards."""
        ...


class GuardPlan(Protocol):
    """The guards of one endpoint, compiled. What is False or empty costs a request nothing."""

    kinds: frozenset[Kind]  # of the texts that are judged, so that scanned and delivered count the same
    on_request: bool
    on_answer: bool
    buffers: bool  # streams are held until they are whole
    reads_tools: bool  # some guard looks at which tools are offered and called, and at the main texts

    def begin(self, subject: str) -> Judging:
        """The guards at work on one exchange of `subject`: who may read back what was tokenised."""
        ...


class Guards(Protocol):
    """All plans."""

    def adopt(self, snapshot: Snapshot) -> Callable[[], None]:
        """Compile the plans of a snapshot; raises `Refused` where one cannot be enforced."""
        ...

    def plan(self, endpoint: str) -> GuardPlan | None:
        """The plan of an endpoint; None where nothing is to be judged."""
        ...
