"""HTTP connections that cannot be held for nothing: every stage of a request has a time, and sources have a share.

uvicorn's protocol waits for as long as a client likes: for the first byte, for the rest of the headers, for the rest of
a body, for an answer to be read. A few thousand sockets that say half a request would hold every connection.

    stage      from                              ends with                                when its time is over
    headers    connection, or the first byte     the line that ends the headers           408, closed
    body       the headers of a request          its last byte; so many a period          408, closed
    sending    an answer that nobody reads       the client reads on                      cut
    idle       an answer that was sent           the next request's first byte            closed (uvicorn's keep-alive)
"""

import asyncio
from collections import Counter
from typing import Any, Final

from attrs import define, field
from prometheus_client import Counter as Metric
from prometheus_client import Gauge
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schemas.settings import HttpSettings

MAX_HEADER_BYTES: Final = 65536
"""of one request's line and headers together"""

OPEN: Final = Gauge("kilonova_http_connections", "Connections that are open now")
CUT: Final = Metric("kilonova_http_connections_cut", "Connections that were ended by a limit", ["limit"])


@define(eq=False)
class Connections:
    """Those of one listener, counted in all and by source address."""

    settings: HttpSettings
    total: int = 0
    by_source: Counter[str] = field(factory=Counter)

    def refuses(self, source: str) -> str:
        """The limit that a further connection of this source would exceed; empty: none."""
        if self.total >= self.settings.connections:
            return "connections"
        if self.by_source[source] >= self.settings.connections_per_source:
            return "connections_per_source"
        return ""

    def add(self, source: str) -> None:
        self.total += 1
        self.by_source[source] += 1
        OPEN.inc()

    def remove(self, source: str) -> None:
        self.total -= 1
        self.by_source[source] -= 1
        if not self.by_source[source]:
            del self.by_source[source]
        OPEN.dec()


def bounded_protocol(connections: Connections) -> type[HttpToolsProtocol]:
    """The protocol class of a listener whose connections are counted in `connections`."""
    return type("BoundedHttpProtocol", (_BoundedHttpProtocol,), {"all_connections": connections})


class _BoundedHttpProtocol(HttpToolsProtocol):
    all_connections: Connections

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = self.all_connections.settings
        self._source: str | None = None
        """None: the connection is not counted"""
        self._in_headers = False
        self._in_body = False
        self._header_bytes = 0
        self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        """of the headers or of the body: they never wait at the same time"""
        self._send_timer: asyncio.TimerHandle | None = None

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        source = self.client[0] if self.client else ""
        if limit := self.all_connections.refuses(source):
            CUT.labels(limit).inc()
            self._end("503 Service Unavailable", b"Too many connections.", b"retry-after: 1\r\n")
            return
        self._source = source
        self.all_connections.add(source)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()
        self._stop_send_timer()
        if self._source is not None:
            self.all_connections.remove(self._source)
            self._source = None

    def data_received(self, data: bytes) -> None:
        if self._in_body:
            self._body_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                CUT.labels("header_bytes").inc()
                self._end("431 Request Header Fields Too Large", b"The headers are too long.")
                return
        if self._in_headers or self._is_idle_without_timer():
            self._await_headers()
        elif self._in_body and self._timer is None:
            self._await_body()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self._limits.send_seconds, self._unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_send_timer()

    # What the parser tells

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers, self._header_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_headers, self._in_body, self._body_bytes = False, True, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._stop_timer()
        super().on_message_complete()

    # Times

    def _is_idle_without_timer(self) -> bool:
        """Bytes that begin no request, such as empty lines, end uvicorn's own keep-alive time."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self._in_body and self.timeout_keep_alive_task is None

    def _await_headers(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.header_seconds, self._late, "header_seconds")

    def _await_body(self) -> None:
        self._timer = self.loop.call_later(self._limits.body_seconds, self._body_period, self._body_bytes)

    def _body_period(self, bytes_before: int) -> None:
        """What the application does not take is not the client's fault."""
        if self.flow.read_paused or self._body_bytes - bytes_before >= self._limits.body_bytes:
            self._await_body()
        else:
            self._late("body_seconds")

    def _late(self, limit: str) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        CUT.labels(limit).inc()
        answering = self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started
        if answering or not (self._in_headers or self._in_body):
            self.transport.close()
        else:
            self._end("408 Request Timeout", b"The request did not arrive in time.")

    def _unread(self) -> None:
        self._send_timer = None
        CUT.labels("send_seconds").inc()
        self.transport.abort()

    def _end(self, status: str, text: bytes, header: bytes = b"") -> None:
        """Answers past the application and closes. A request that it still works on finds its client gone."""
        head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(text)}\r\nconnection: close\r\n"
        self.transport.write(head.encode() + header + b"\r\n" + text)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
