"""The HTTP listener against clients that hold connections, on real sockets."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve
from certificates import Authority
from ports import free_port
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from runtime.connections import MAX_HEADER_BYTES
from runtime.http import InsecureListenerError, listen, serve_http
from schemas.settings import HttpSettings

HASTY = HttpSettings(header_seconds=0.4, body_seconds=0.4, body_bytes=1000, send_seconds=0.4)
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Awaitable[Opened]]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/large":
        await PlainTextResponse(b"x" * (64 << 20))(scope, receive, send)
        return
    body = await Request(scope, receive).body()
    await PlainTextResponse(f"{len(body)} bytes")(scope, receive, send)


@asynccontextmanager
async def serving(settings: HttpSettings = HASTY) -> AsyncIterator[Open]:
    port = free_port()
    listener = listen("127.0.0.1", port, settings, "api")
    task = asyncio.create_task(serve_http(echo, listener, settings))
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def said_within(opened: Opened, seconds: float) -> bytes:
    """All that the server says until it closes the connection."""
    try:
        async with asyncio.timeout(seconds):
            return await opened[0].read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n", b"\r\n"],
    ids=["nothing", "half a line", "half the headers", "an empty line"],
)
async def test_half_a_request_holds_no_connection(sent: bytes) -> None:
    """30 of 30 connections with half-sent headers were still open after 100 seconds."""
    async with serving() as connect:
        opened = await connect()
        opened[1].write(sent)
        await said_within(opened, 10)


async def test_headers_that_trickle_in_have_the_same_time_as_others() -> None:
    async with serving() as connect:
        reader, writer = await connect()
        began = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\n")
        answer = asyncio.create_task(reader.read())
        while not answer.done() and time.monotonic() - began < 10:
            writer.write(b"x: y\r\n")
            await asyncio.wait([answer], timeout=0.1)
        assert b"408 Request Timeout" in await answer


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"], ids=["the first", "a later one"])
async def test_half_a_body_holds_no_connection(first: bytes) -> None:
    async with serving() as connect:
        opened = await connect()
        opened[1].write(first + b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n12345")
        assert b"408 Request Timeout" in await said_within(opened, 10)


async def test_a_slow_body_is_taken_as_long_as_it_comes() -> None:
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 20000\r\n\r\n")
        for _ in range(10):  # takes longer than one period, with enough bytes in each
            writer.write(b"x" * 2000)
            await asyncio.sleep(0.1)
        assert b"20000 bytes" in await reader.read()


async def test_an_answer_that_is_not_read_is_cut() -> None:
    async with serving() as connect:
        reader, writer = await connect()
        writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.sleep(1.5)  # is the fault: the client reads nothing
        assert len(await said_within((reader, writer), 10)) < 64 << 20


async def test_requests_on_one_connection_are_not_hurried() -> None:
    """Only the parts of a request have a time; between two of them there is uvicorn's, of 75 seconds."""
    async with serving() as connect:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n12345")
            assert b"200 OK" in await reader.readuntil(b"5 bytes")
            await asyncio.sleep(0.6)


async def test_long_headers_are_refused() -> None:
    async with serving(evolve(HASTY, header_seconds=60)) as connect:
        reader, writer = await connect()
        line = b"x: " + b"y" * 1000 + b"\r\n"
        writer.write(b"GET / HTTP/1.1\r\n" + line * (MAX_HEADER_BYTES // len(line) + 2))
        assert b"431 " in await said_within((reader, writer), 10)


@pytest.mark.parametrize("limit", [{"connections": 3}, {"connections_per_source": 3}])
async def test_one_connection_too_many_is_told_so_and_a_closed_one_makes_room(limit: dict[str, int]) -> None:
    async with serving(HttpSettings(**limit)) as connect:
        held = [await connect() for _ in range(3)]
        for reader, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"0 bytes")
        refused = await said_within(await connect(), 10)
        assert b"503 Service Unavailable" in refused
        assert b"retry-after: 1" in refused
        held[0][1].close()
        async with asyncio.timeout(10):
            while True:
                reader, writer = await connect()
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                if b"200 OK" in await said_within((reader, writer), 10):
                    break


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_beyond_loopback_without_tls_is_refused_unless_allowed_by_name(host: str) -> None:
    """A site by the roles' defaults served tokens and passwords in plain HTTP to its whole network."""
    with pytest.raises(InsecureListenerError, match=r"api\.http\.allow_plaintext"):
        listen(host, free_port(), HttpSettings(), "api")


def test_plain_http_is_served_where_it_is_allowed() -> None:
    listen("0.0.0.0", free_port(), HttpSettings(allow_plaintext=True), "api").close()
    listen("localhost", free_port(), HttpSettings(), "api").close()


async def test_https_is_served(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("api")
    settings = HttpSettings(tls_cert=files.cert, tls_key=files.key)
    port = free_port()
    listener = listen("0.0.0.0", port, settings, "api")
    task = asyncio.create_task(serve_http(echo, listener, settings))
    try:
        trusted = ssl.create_default_context(cafile=authority.ca)
        async with httpx.AsyncClient(verify=trusted) as client:
            answer = await client.post(f"https://127.0.0.1:{port}/", content=b"12345")
        assert answer.text == "5 bytes"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_half_of_a_key_pair_is_refused() -> None:
    with pytest.raises(InsecureListenerError, match="belong together"):
        listen("127.0.0.1", free_port(), HttpSettings(tls_cert="x.crt"), "api")
