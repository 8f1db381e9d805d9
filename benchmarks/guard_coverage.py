"""Proof `guards`, its part about coverage: no way through the gateway passes its guards by.

A real gateway process before a provider that says what it is told. Every cell of dialect, stream, n, tools and place is
asked three times: with clean texts, with a planted marker that must be redacted, and with one that must be blocked. A
cell holds if the marker is nowhere on the far side, every clean text arrives as it was, and the row's bytes scanned and
delivered both equal what this file, which knows its own texts, has counted.
"""

from __future__ import annotations

import http.client
import http.server
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from andon.kernel.snapshot import EndpointEntry, GuardEntry, ReleaseEntry, Snapshot, TargetEntry
from andon.ledger.disk import FileDisk
from andon.ledger.reader import Cursor
from andon.ledger.row import Outcome
from benchmarks.factory import KEY_HEADER, gateway_command, gateway_environment, make_home
from benchmarks.harness import QUICK, conclude, free_port, running, table

MARK, MASK = "zebra", "[mark]"
CLEAN = "all is wéll here"
OUTCOMES = ("clean", "redact", "block")
PLACES = ("input", "context", "output")
PATHS = {"chat": "/v1/chat/completions", "completion": "/v1/completions", "embedding": "/v1/embeddings"}
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Cell:
    """One way through the gateway."""

    form: str  # chat, completion, embedding, json or binary (both of the Open Inference Protocol)
    stream: bool
    n: int
    tools: bool
    place: str

    @property
    def is_oip(self) -> bool:
        """Whether it speaks the Open Inference Protocol."""
        return self.form in ("json", "binary")


def cells() -> Iterator[Cell]:
    """Every cell that there is: embeddings and tensors have no streams, choices, tools or tool results."""
    for form, stream, n, tools, place in itertools.product(
        ("chat", "completion", "embedding", "json", "binary"), (False, True), (1, 3), (False, True), PLACES
    ):
        is_text = form in ("chat", "completion")
        if (stream or n > 1) and not is_text:
            continue
        if (tools or place == "context") and form != "chat":
            continue
        if form == "embedding" and place == "output":
            continue  # numbers
        yield Cell(form, stream, n, tools, place)


@dataclass
class Asked:
    """A request of a cell, what the model is to answer, and what this proof itself counts."""

    body: bytes
    headers: dict[str, str]
    answer: Any  # texts of the choices, or the argument texts of tool calls
    counted: int  # bytes of text at the cell's place, as they are to be delivered
    texts: list[str] = field(default_factory=list)  # that must arrive on the far side


def planted(outcome: str, number: int = 0) -> str:
    """A text with or without the marker."""
    return f"{CLEAN} {number}" if outcome == "clean" else f"{CLEAN} {number} a {MARK} there"


def shown(text: str) -> str:
    """A text as it is to be delivered."""
    return text.replace(MARK, MASK)


def ask(cell: Cell, outcome: str) -> Asked:
    """The request of a cell."""
    said = {place: planted(outcome if place == cell.place else "clean") for place in PLACES}
    answers = [planted(outcome if cell.place == "output" else "clean", number) for number in range(cell.n)]
    arguments = [json.dumps({"note": text}, ensure_ascii=False) for text in answers]
    delivered = list(answers)
    if cell.place == "output" and cell.tools:
        delivered += arguments
    if cell.is_oip:
        return _ask_tensors(cell, said["input"], answers[0])
    name = f"{cell.form}-{cell.place}-{outcome}"
    asked: dict[str, Any] = {"model": name}
    counted: dict[str, list[str]] = {
        "input": [said["input"]],
        "context": [said["context"]],
        "output": delivered,
    }
    if cell.form == "chat":
        earlier = "as said before"
        asked["messages"] = [
            {"role": "system", "content": "be brief"},
            {"role": "assistant", "content": earlier},
            {"role": "tool", "tool_call_id": "call_1", "content": said["context"]},
            {"role": "user", "content": [{"type": "text", "text": said["input"]}]},
        ]
        counted["input"] += ["be brief", earlier]
        if cell.tools:
            description = planted(outcome if cell.place == "input" else "clean", 7)
            function = {"name": "note", "description": description, "parameters": {"type": "object"}}
            asked["tools"] = [{"type": "function", "function": function}]
            counted["input"] += [description, "object"]
    elif cell.form == "completion":
        asked["prompt"] = [said["input"], "and more"]
        counted["input"].append("and more")
    else:
        asked["input"] = said["input"]
    if cell.n > 1:
        asked["n"] = cell.n
    if cell.stream:
        asked["stream"] = True
    texts = counted[cell.place]
    size = sum(len(shown(text).encode()) for text in texts)
    body = json.dumps(asked, ensure_ascii=False).encode()
    headers = {"content-type": "application/json"}
    return Asked(
        body, headers, (answers, arguments if cell.tools else []), size, [shown(one) for one in texts]
    )


def packed(*texts: str) -> bytes:
    """Elements of a tensor of BYTES in binary."""
    return b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)


def _ask_tensors(cell: Cell, said: str, answer: str) -> Asked:
    texts = [said, "and more"] if cell.place == "input" else [answer]
    size = sum(len(shown(text).encode()) for text in texts)
    tensor: dict[str, Any] = {"name": "x", "shape": [2], "datatype": "BYTES"}
    numbers: dict[str, Any] = {"name": "n", "shape": [2], "datatype": "FP32", "data": [1.0, 2.5]}
    shown_texts = [shown(text) for text in texts]
    if cell.form == "json":
        tensor["data"] = [said, "and more"]
        body = json.dumps({"inputs": [numbers, tensor]}, ensure_ascii=False).encode()
        return Asked(body, {"content-type": "application/json"}, ([answer], []), size, shown_texts)
    data = packed(said, "and more")
    tensor["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps({"inputs": [numbers, tensor]}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return Asked(head + data, headers, ([answer], []), size, shown_texts)


class Model:
    """What the provider is to say next, and what it was asked."""

    def __init__(self) -> None:
        self.cell: Cell | None = None
        self.answer: Any = None
        self.asked: list[bytes] = []

    def whole(self) -> tuple[dict[str, str], bytes]:
        """Headers and body of an answer that is no stream."""
        cell, answers = self.cell, self.answer[0]
        assert cell is not None
        if cell.form == "binary":
            data = packed(answers[0])
            tensor = {
                "name": "y",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": len(data)},
            }
            head = json.dumps({"model_name": "m", "outputs": [tensor]}).encode()
            length = {"inference-header-content-length": str(len(head))}
            return {"content-type": "application/octet-stream", **length}, head + data
        if cell.form == "json":
            tensor = {"name": "y", "shape": [1], "datatype": "BYTES", "data": answers[:1]}
            body: Any = {"model_name": "m", "outputs": [tensor]}
        elif cell.form == "embedding":
            body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1e-3]}]}
        else:
            choices = [self._choice(cell, number) for number in range(len(answers))]
            body = {"id": "r-1", "object": "chat.completion", "model": "m", "choices": choices}
        return {"content-type": "application/json"}, json.dumps(body, ensure_ascii=False).encode()

    def _choice(self, cell: Cell, number: int) -> dict[str, Any]:
        answers, arguments = self.answer
        if cell.form == "completion":
            return {"index": number, "text": answers[number], "finish_reason": "stop"}
        message: dict[str, Any] = {"role": "assistant", "content": answers[number]}
        if arguments:
            call = {
                "id": "call_1",
                "type": "function",
                "function": {"name": "note", "arguments": arguments[number]},
            }
            message["tool_calls"] = [call]
        return {"index": number, "message": message, "finish_reason": "stop"}

    def events(self) -> Iterator[bytes]:
        """A stream with every choice's parts among those of the others, three characters at a time."""
        cell, (answers, arguments) = self.cell, self.answer
        assert cell is not None
        lines = [(text, "content") for text in answers] + [(text, "arguments") for text in arguments]
        for at in range(0, max(len(text) for text, _ in lines), 3):
            for number, (text, part) in enumerate(lines):
                if piece := text[at : at + 3]:
                    yield self._event(number % cell.n, piece, part, first=at == 0)
        for number in range(cell.n):
            ended: dict[str, Any] = {"index": number, "finish_reason": "stop"}
            ended |= {"text": ""} if cell.form == "completion" else {"delta": {}}
            yield _sse({"id": "r-1", "object": _object(cell), "choices": [ended]})
        yield b"data: [DONE]\n\n"

    def _event(self, choice: int, piece: str, part: str, *, first: bool) -> bytes:
        cell = self.cell
        assert cell is not None
        told: dict[str, Any] = {"index": choice, "finish_reason": None}
        if cell.form == "completion":
            told["text"] = piece
        elif part == "content":
            told["delta"] = {"content": piece}
        else:
            function = {"arguments": piece, **({"name": "note"} if first else {})}
            told["delta"] = {"tool_calls": [{"index": 0, "function": function}]}
        return _sse({"id": "r-1", "object": _object(cell), "choices": [told]})


def _object(cell: Cell) -> str:
    return "text_completion" if cell.form == "completion" else "chat.completion.chunk"


def _sse(data: Any) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def provider(model: Model) -> http.server.ThreadingHTTPServer:
    """A real server that says what the model is told to."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Health checks."""
            self._say({"content-type": "application/json"}, b"{}")

        def do_POST(self) -> None:
            """A request."""
            model.asked.append(self.rfile.read(int(self.headers["content-length"])))
            if model.cell is not None and model.cell.stream:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                try:
                    for event in model.events():
                        self.wfile.write(event)
                except OSError:
                    pass  # a blocked stream is closed by the gateway
                self.close_connection = True
                return
            self._say(*model.whole())

        def _say(self, headers: dict[str, str], body: bytes) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, form: str, *args: Any) -> None:
            """Nothing: the proof reads the rows."""

    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def guarded(content: Snapshot, upstream: int) -> Snapshot:
    """An endpoint for every form, place and outcome, each with one guard at that one place."""
    endpoints = []
    for form, place, outcome in itertools.product((*PATHS, "json", "binary"), PLACES, OUTCOMES):
        protocol: Any = "oip" if form in ("json", "binary") else "openai"
        name = f"{form}-{place}-{outcome}"
        target = TargetEntry(id=name, url=f"http://127.0.0.1:{upstream}", protocol=protocol, model="m")
        guard = GuardEntry(
            name="marker",
            detector="pattern",
            places=(place,),  # type: ignore[arg-type]  # one of the three
            mode="enforce",
            action="block" if outcome == "block" else "redact",
            settings={"words": {"mark": [MARK]}},
        )
        release = ReleaseEntry(id=f"{name}@1", arm="stable", weight=10_000, targets=(target,))
        endpoints.append(EndpointEntry(name=name, protocol=protocol, releases=(release,), guards=(guard,)))
    return msgspec.structs.replace(content, endpoints=tuple(endpoints))


@dataclass
class Told:
    """What came back."""

    status: int
    body: bytes
    id: str


def send(port: int, cell: Cell, outcome: str, asked: Asked) -> Told:
    """One request, to its end."""
    path = f"/v2/models/{cell.form}-{cell.place}-{outcome}/infer" if cell.is_oip else PATHS[cell.form]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, asked.body, {**asked.headers, **KEY_HEADER})
        answer = connection.getresponse()
        try:
            body = answer.read()
        except http.client.IncompleteRead as cut:
            body = cut.partial
        return Told(answer.status, body, answer.headers["x-request-id"])
    finally:
        connection.close()


def texts_of(cell: Cell, body: bytes) -> str:
    """Everything that a client makes of an answer: the texts of each choice and call, parts joined."""
    if not cell.stream:
        return body.decode(errors="replace").replace('\\"', '"')
    joined: dict[tuple[int, str], str] = {}
    for line in body.decode().split("\n\n"):
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:]).get("choices", ()):
            delta = choice.get("delta", {})
            parts = {"text": choice.get("text"), "content": delta.get("content")}
            for call in delta.get("tool_calls", ()):
                parts["arguments"] = call["function"].get("arguments")
            for part, text in parts.items():
                key = choice["index"], part
                joined[key] = joined.get(key, "") + (text or "")
    return "\n".join(joined.values())


def problem(cell: Cell, outcome: str, asked: Asked, told: Told, model: Model, row: Outcome | None) -> str:
    """Why a cell does not hold; empty if it does."""
    far = (
        texts_of(cell, told.body)
        if cell.place == "output"
        else b"".join(model.asked).decode(errors="replace")
    )
    far = far.replace('\\"', '"')
    if MARK in far or MARK.encode() in told.body:
        return "the marker came through"
    if row is None:
        return "there is no row"
    if row.scanned_bytes != row.delivered_bytes:
        return f"scanned {row.scanned_bytes}, delivered {row.delivered_bytes}"
    if outcome == "block":
        code = b"content policy" if cell.is_oip else b"content_filter"  # that protocol has no codes
        if code not in told.body or (not cell.stream and told.status != 400):
            return f"not refused as blocked: {told.status}"
        if cell.place != "output" and model.asked:
            return "a blocked request was sent"
        return "" if "block" in (row.verdicts or "") else "the row does not tell of it"
    if told.status != 200:
        return f"status {told.status}: {told.body[:200]!r}"
    lost = [text for text in asked.texts if text not in far]
    if lost:
        return f"'{lost[0]}' did not arrive"
    if row.delivered_bytes != asked.counted:
        return f"delivered {row.delivered_bytes}, but {asked.counted} were sent"
    return ""


class Rows:
    """Final rows as they are written."""

    def __init__(self, folder: Path) -> None:
        self._cursor = Cursor(FileDisk(folder))
        self._found: dict[str, Outcome] = {}

    def get(self, id_: str) -> Outcome | None:
        """The row of a request, once it is there."""
        ends = time.monotonic() + PATIENCE_S
        while id_ not in self._found and time.monotonic() < ends:
            for entry in self._cursor.poll():
                if isinstance(entry.row, Outcome) and entry.row.final:
                    self._found[entry.row.id] = entry.row
            if id_ not in self._found:
                time.sleep(0.005)
        return self._found.get(id_)


def measure(quick: bool) -> dict[str, float]:
    """`coverage`: the share of cells that hold. All cells are asked either way: it takes seconds."""
    model = Model()
    server = provider(model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upstream = server.server_address[1]
    held, failed = 0, []
    try:
        with tempfile.TemporaryDirectory() as work:
            home = make_home(Path(work), upstream, "acknowledged", lambda content: guarded(content, upstream))
            port = free_port()
            with running(gateway_command(home), port, environment=gateway_environment(port)):
                rows = Rows(home.ledger)
                for cell in cells():
                    why = judge(cell, port, model, rows)
                    held += not why
                    failed += [[cell.form, cell.stream, cell.n, cell.tools, cell.place, why]] if why else []
    finally:
        server.shutdown()
        server.server_close()
    if failed:
        table(("form", "stream", "n", "tools", "place", "why"), failed)
    print(f"{held} of {held + len(failed)} ways through the gateway hold, each asked {len(OUTCOMES)} times")
    return {"coverage": held / (held + len(failed))}


def judge(cell: Cell, port: int, model: Model, rows: Rows) -> str:
    """Why a cell does not hold; empty if it does."""
    for outcome in OUTCOMES:
        asked = ask(cell, outcome)
        model.cell, model.answer, model.asked = cell, asked.answer, []
        told = send(port, cell, outcome, asked)
        why = problem(cell, outcome, asked, told, model, rows.get(told.id))
        if why:
            return f"{outcome}: {why}"
    return ""


if __name__ == "__main__":
    conclude(measure(QUICK))
