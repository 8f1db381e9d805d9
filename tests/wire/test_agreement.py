"""Properties: a second parser (h11) agrees about every message, and the cuts between packets mean nothing."""

from __future__ import annotations

import asyncio

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.memory import feed
from tests.wire.rig import Recorder, statuses

TOKENS = st.sampled_from(
    [b"content-length", b"transfer-encoding", b"host", b"x", b"x-y", b"expect", b"connection", b"te"]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            b"5",
            b"0",
            b"chunked",
            b"close",
            b"keep-alive",
            b"a",
            b"",
            b"100-continue",
            b"5, 5",
            b"gzip",
            b"\x00",
        ]
    ),
    st.binary(max_size=6),
)
HEADERS = st.lists(st.tuples(TOKENS, VALUES), max_size=4)
METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"OPTIONS", b"HEAD", b"get", b"G T"])
TARGETS = st.sampled_from(
    [b"/", b"/a?b=c", b"/a?b?c", b"*", b"http://h/a?b", b"/a b", b"//x", b"/%00", b"/\xc3"]
)
VERSIONS = st.sampled_from(
    [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.9", b"HTTP"]
)
BODIES = st.sampled_from(
    [
        b"",
        b"hello",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0\r\nt: 1\r\n\r\n",
        b"z\r\n",
        b"0\r\n\r\n",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])


@st.composite
def messages(draw):
    """One request, lawful more often than not."""
    lines = [b" ".join((draw(METHODS), draw(TARGETS), draw(VERSIONS)))]
    if draw(st.integers(0, 9)):
        lines.append(b"host: a")
    lines += [b"%b: %b" % header for header in draw(HEADERS)]
    end = draw(ENDS)
    return end.join(lines) + end + draw(ENDS) + draw(BODIES)


@st.composite
def lawful(draw):
    """One request that everybody must accept."""
    body = draw(st.binary(max_size=40))
    headers = b"".join(b"x-%d: %b\r\n" % (at, b"v" * at) for at in range(draw(st.integers(0, 4))))
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(body)))
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
        framing, sent = b"transfer-encoding: chunked\r\n", chunks + b"0\r\n\r\n"
    else:
        framing, sent = b"content-length: %d\r\n" % len(body), body
    return b"POST /p?q HTTP/1.1\r\nhost: a\r\n" + headers + framing + b"\r\n" + sent


def second_opinion(raw: bytes):
    """The requests that h11 sees in a stream, and whether it refused something."""
    seen = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        connection.receive_data(raw)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                seen.append([event.method, event.target, list(event.headers), b""])
            elif isinstance(event, h11.Data):
                seen[-1][3] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                seen[-1].append("whole")
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
            else:
                break
    except h11.RemoteProtocolError:
        return [request for request in seen if request[-1] == "whole"], True
    return [request for request in seen if request[-1] == "whole"], False


def origin(method: bytes, target: bytes) -> bytes:
    return b"/a?b" if target == b"http://h/a?b" else target


@settings(max_examples=400, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=2))
def test_whatever_is_accepted_means_the_same_to_h11(parts):
    raw = b"".join(parts)
    application = Recorder()
    asyncio.run(feed(application, [raw]))
    theirs, _ = second_opinion(raw)
    ours = [
        (method, path + (b"?" + query if query else b""), headers, body)
        for method, path, query, headers, body in application.requests
    ]
    # We may be stricter, never different: our requests are the first of theirs.
    assert len(ours) <= len(theirs)
    for mine, other in zip(ours, theirs, strict=False):
        assert mine[0] == other[0]
        assert mine[1] == origin(*other[:2])
        assert [(name, value) for name, value in mine[2]] == other[2]
        assert mine[3] == other[3]


@settings(max_examples=150, deadline=None)
@given(st.lists(lawful(), min_size=1, max_size=4), st.data())
def test_lawful_streams_are_accepted_however_they_are_cut(parts, data):
    raw = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=30)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]
    whole, cut, by_byte = Recorder(), Recorder(), Recorder()
    answers = [
        asyncio.run(feed(whole, [raw])),
        asyncio.run(feed(cut, pieces)),
        asyncio.run(feed(by_byte, [raw[at : at + 1] for at in range(len(raw))])),
    ]
    theirs, refused = second_opinion(raw)
    assert not refused
    assert len(whole.requests) == len(theirs) == len(parts)
    assert whole.requests == cut.requests == by_byte.requests
    assert answers[0] == answers[1] == answers[2]


@settings(max_examples=150, deadline=None)
@given(messages(), st.data())
def test_hostile_streams_are_judged_alike_however_they_are_cut(raw, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]
    whole, cut = Recorder(), Recorder()
    first = asyncio.run(feed(whole, [raw]))
    second = asyncio.run(feed(cut, pieces))
    assert whole.requests == cut.requests
    # An interim 100 may be skipped when the body has come along with the head.
    assert [status for status in statuses(first) if status != 100] == [
        status for status in statuses(second) if status != 100
    ]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_noise_never_reaches_the_application_or_raises(raw):
    application = Recorder()
    asyncio.run(feed(application, [raw]))
    assert application.requests == []
