"""A client that costs little beside what it measures: HTTP/1.1 with kept connections, JSON in and out."""

import asyncio
from typing import Any, Final

import orjson
from attrs import define, field, frozen
from httpx import URL

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


@frozen
class Answer:
    status_code: int
    content: bytes

    def json(self) -> Any:
        return orjson.loads(self.content)

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


@define(eq=False)
class _Wire(asyncio.Protocol):
    """One connection: one request at a time."""

    transport: asyncio.Transport | None = None
    answer: asyncio.Future[Answer] | None = None
    _seen: bytearray = field(factory=bytearray)
    _body_at: int = 0
    _ends_at: int = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if not self._body_at:
            end = self._seen.find(_HEAD_END)
            if end < 0:
                return
            self._body_at = end + len(_HEAD_END)
            self._ends_at = self._body_at + _length(bytes(self._seen[:end]).lower())
        if len(self._seen) >= self._ends_at:
            answer = Answer(int(self._seen[9:12]), bytes(self._seen[self._body_at : self._ends_at]))
            del self._seen[: self._ends_at]
            self._body_at = 0
            assert self.answer is not None
            self.answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("the server closed the connection"))


def _length(head: bytes) -> int:
    at = head.find(_LENGTH)
    return int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


@define(eq=False)
class LeanClient:
    """`base` is the API's address, `headers` go with each request."""

    base: str
    headers: dict[str, str]
    _free: list[_Wire] = field(factory=list)

    async def send(self, method: str, path: str, body: Any = None) -> Answer:
        """The response, whatever its code. Raises OSError."""
        url = URL(self.base + path)
        content = orjson.dumps(body) if body is not None else b""
        lines = [f"{method} {url.raw_path.decode()} HTTP/1.1", f"Host: {url.netloc.decode()}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if content:
            lines.append("Content-Type: application/json")
        lines.append(f"Content-Length: {len(content)}")
        loop = asyncio.get_running_loop()
        wire = self._free.pop() if self._free else None
        if wire is None or wire.transport is None:
            _, wire = await loop.create_connection(_Wire, url.host, url.port)
        assert wire.transport is not None
        wire.answer = loop.create_future()
        wire.transport.write("\r\n".join(lines).encode() + _HEAD_END + content)
        answer = await wire.answer
        self._free.append(wire)
        return answer

    def close(self) -> None:
        for wire in self._free:
            if wire.transport:
                wire.transport.close()
