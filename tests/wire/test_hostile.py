"""Requests made by enemies, with what each must get."""

from __future__ import annotations

import pytest

from tests.wire.rig import Recorder, serving, statuses, talk

HOST = b"host: a\r\n"
SECOND = b"GET /second HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return (
        b"POST /first HTTP/1.1\r\nhost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body
    )


REFUSED: dict[str, tuple[bytes, int]] = {
    "both lengths": (post(b"content-length: 5", b"transfer-encoding: chunked", body=b"0\r\n\r\n"), 400),
    "both lengths, other order": (
        post(b"transfer-encoding: chunked", b"content-length: 5", body=b"0\r\n\r\n"),
        400,
    ),
    "two equal lengths": (post(b"content-length: 5", b"content-length: 5", body=b"hello"), 400),
    "two different lengths": (post(b"content-length: 5", b"content-length: 6", body=b"hello"), 400),
    "list of lengths": (post(b"content-length: 5, 5", body=b"hello"), 400),
    "signed length": (post(b"content-length: +5", body=b"hello"), 400),
    "negative length": (post(b"content-length: -5", body=b"hello"), 400),
    "hexadecimal length": (post(b"content-length: 0x5", body=b"hello"), 400),
    "empty length": (post(b"content-length: ", body=b"hello"), 400),
    "endless length": (post(b"content-length: 99999999999999999999", body=b"hello"), 400),
    "huge length": (post(b"content-length: 999999999999"), 413),
    "space before the colon": (post(b"content-length : 5", body=b"hello"), 400),
    "gzip, chunked": (post(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "chunked, gzip": (post(b"transfer-encoding: chunked, gzip", body=b"0\r\n\r\n"), 400),
    "identity": (post(b"transfer-encoding: identity", body=b"hello"), 400),
    "xchunked": (post(b"transfer-encoding: xchunked", body=b"0\r\n\r\n"), 400),
    "chunked twice": (
        post(b"transfer-encoding: chunked", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "vertical tab before chunked": (post(b"transfer-encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    "chunked on 1.0": (b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "folded header": (post(b"x: 1", b" folded"), 400),
    "folded first header": (b"GET / HTTP/1.1\r\n x: 1\r\nhost: a\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nhost: a\n\n", 400),
    "bare line feed after a header": (b"GET / HTTP/1.1\r\nhost: a\n\r\n", 400),
    "bare carriage return": (b"GET / HTTP/1.1\r\nhost: a\rb: c\r\n\r\n", 400),
    "NUL in a value": (post(b"x: a\x00b"), 400),
    "control in a value": (post(b"x: a\x01b"), 400),
    "DEL in a value": (post(b"x: a\x7fb"), 400),
    "space in a name": (post(b"x y: 1"), 400),
    "no name": (post(b": 1"), 400),
    "no colon": (post(b"xxxx"), 400),
    "bad byte in a name": (post(b"x\xff: 1"), 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", 400),
    "lower-case method": (b"get / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "unknown method": (b"HACK / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
    "websocket": (post(b"connection: upgrade", b"upgrade: websocket"), 400),
    "other expectation": (post(b"expect: coffee", b"content-length: 5", body=b"hello"), 417),
    "fragment": (b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "relative target": (b"GET a HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "asterisk": (b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "user in an absolute target": (b"GET http://u@h/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "other scheme": (b"GET ftp://h/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "raw byte in the target": (b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "NUL in the target": (b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    "TLS to a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "chunk with 0x": (post(b"transfer-encoding: chunked", body=b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "chunk size with space": (post(b"transfer-encoding: chunked", body=b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    "chunk size overflow": (post(b"transfer-encoding: chunked", body=b"FFFFFFFFFFFFFFFFFF\r\n"), 400),
    "chunk longer than told": (post(b"transfer-encoding: chunked", body=b"5\r\nhellos\r\n0\r\n\r\n"), 400),
    "chunk ended by a line feed": (post(b"transfer-encoding: chunked", body=b"5\nhello\r\n0\r\n\r\n"), 400),
    "chunked body too large": (
        post(b"transfer-encoding: chunked", body=b"3E9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"),
        413,
    ),
    "body too large": (post(b"content-length: 1001"), 413),
    "endless chunk extension": (post(b"transfer-encoding: chunked", body=b"5;" + b"x" * 100_000), 400),
    "endless trailer": (post(b"transfer-encoding: chunked", body=b"0\r\nx: " + b"x" * 100_000), 400),
    "large head in one header": (post(b"x: " + b"y" * 40_000), 431),
    "large head in many headers": (post(*(b"x%d: %b" % (at, b"y" * 900) for at in range(60))), 431),
    "large target": (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 431),
    "endless head": (b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000, 431),
    "too many headers": (post(*(b"x%d: 1" % at for at in range(200))), 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_and_abusive_requests_are_refused_and_nothing_behind_them_is_read(run, name):
    raw, status = REFUSED[name]
    application = Recorder()

    async def main() -> bytes:
        async with serving(application) as server:
            return await talk(server.port, raw + SECOND)

    answer = run(main())
    assert statuses(answer) == [status]
    assert b"connection: close" in answer
    assert b"x-code: " in answer
    assert application.requests == []


SERVED: dict[str, tuple[bytes, tuple[bytes, bytes, bytes, bytes]]] = {
    "plain": (b"GET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n", (b"GET", b"/a", b"b=c", b"")),
    "length": (post(b"content-length: 5", body=b"hello"), (b"POST", b"/first", b"", b"hello")),
    "largest length": (
        post(b"content-length: 1000", body=b"x" * 1000),
        (b"POST", b"/first", b"", b"x" * 1000),
    ),
    "chunked": (
        post(b"Transfer-Encoding: Chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        (b"POST", b"/first", b"", b"hello"),
    ),
    "chunk extension": (
        post(b"transfer-encoding: chunked", body=b"5;a=b\r\nhello\r\n0\r\n\r\n"),
        (b"POST", b"/first", b"", b"hello"),
    ),
    "trailer": (
        post(b"transfer-encoding: chunked", body=b"1\r\nh\r\n0\r\nauthorization: forged\r\n\r\n"),
        (b"POST", b"/first", b"", b"h"),
    ),
    "absolute target": (b"GET http://h:1/a?b HTTP/1.1\r\nhost: a\r\n\r\n", (b"GET", b"/a", b"b", b"")),
    "absolute target without a path": (
        b"GET http://h?b HTTP/1.1\r\nhost: a\r\n\r\n",
        (b"GET", b"/", b"b", b""),
    ),
    "OPTIONS asterisk": (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", (b"OPTIONS", b"*", b"", b"")),
    "empty lines before": (b"\r\n\r\nGET /a HTTP/1.1\r\nhost: a\r\n\r\n", (b"GET", b"/a", b"", b"")),
    "offer of h2c": (
        b"GET /a HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\r\n",
        (b"GET", b"/a", b"", b""),
    ),
}


@pytest.mark.parametrize("name", SERVED)
def test_lawful_requests_are_served_and_the_next_one_too(run, name):
    raw, expected = SERVED[name]
    application = Recorder()

    async def main() -> bytes:
        async with serving(application) as server:
            return await talk(server.port, raw + SECOND)

    assert statuses(run(main())) == [200, 200]
    method, path, query, headers, body = application.requests[0]
    assert (method, path, query, body) == expected
    assert all(name == name.lower() and name != b"authorization" for name, _ in headers)
    assert application.requests[1][1] == b"/second"


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"content-length: 2", b"hi"), (b"transfer-encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n")],
)
def test_an_offer_of_h2c_with_a_body_is_served_once_and_closed(run, framing, body):
    application = Recorder()
    offer = post(b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", framing, body=body)

    async def main() -> bytes:
        async with serving(application) as server:
            return await talk(server.port, offer[:-1], offer[-1:] + SECOND)

    answer = run(main())
    assert statuses(answer) == [200]
    assert b"connection: close" in answer
    assert [request[4] for request in application.requests] == [b"hi"]


def test_a_trailer_never_becomes_a_header_of_a_later_request(run):
    application = Recorder()
    first = post(b"transfer-encoding: chunked", body=b"0\r\nx-forged: 1\r\n\r\n")

    async def main() -> None:
        async with serving(application) as server:
            await talk(server.port, first + SECOND)

    run(main())
    assert [name for request in application.requests for name, _ in request[3] if name == b"x-forged"] == []


def test_http_1_0_is_closed_unless_it_asks_to_be_kept(run):
    async def main() -> None:
        async with serving(Recorder()) as server:
            answer = await talk(server.port, b"GET / HTTP/1.0\r\n\r\n")
            assert statuses(answer) == [200]
            assert b"connection: close" in answer
            kept = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
            answer = await talk(server.port, kept + b"GET / HTTP/1.0\r\n\r\n")
            assert statuses(answer) == [200, 200]
            assert b"connection: keep-alive" in answer

    run(main())


def test_head_gets_the_length_and_no_body(run):
    async def behave(request, reply):
        reply.send(200, b"", b"hello")

    async def main() -> bytes:
        async with serving(Recorder(behave)) as server:
            return await talk(server.port, b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")

    answer = run(main())
    assert b"content-length: 5" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_expect_100_is_answered_before_the_body_but_never_before_a_refusal(run):
    async def main() -> None:
        async with serving(Recorder()) as server:
            answer = await talk(
                server.port,
                post(b"expect: 100-continue", b"content-length: 5", b"connection: close"),
                b"hello",
            )
            assert statuses(answer) == [100, 200]
            assert statuses(
                await talk(server.port, post(b"expect: 100-continue", b"content-length: 5000"))
            ) == [413]

    run(main())
