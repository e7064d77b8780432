"""What surrounds every request: it goes on with its caller's trace, or begins one, and the log names it."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog
from starlette.responses import PlainTextResponse

from control.api.frame import Frame
from runtime.logs import configure_logs
from schemas.context import TRACEPARENT, valid_traceparent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def tell(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse(TRACEPARENT.get())(scope, receive, send)


async def asked(**headers: str) -> str:
    transport = httpx.ASGITransport(app=Frame(tell, deadline=5))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        return (await client.get("/", headers=headers)).text


async def test_the_callers_trace_goes_on() -> None:
    assert await asked(traceparent=TRACE) == TRACE


async def test_without_a_valid_one_each_request_begins_its_own() -> None:
    made = [await asked(), await asked(), await asked(traceparent="00-nonsense")]
    assert len(set(made)) == 3
    assert [valid_traceparent(m) for m in made] == made


def logged(monkeypatch: pytest.MonkeyPatch, say: Callable[[Any], None]) -> list[dict[str, Any]]:
    """The lines of what is said to a process's log."""
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    before = structlog.get_config()
    try:
        configure_logs("test", "info", "json")
        say(structlog.get_logger())
    finally:
        structlog.configure(**before)
    return [json.loads(line) for line in stderr.getvalue().splitlines()]


def test_the_log_names_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def say(log: Any) -> None:
        TRACEPARENT.set(TRACE)
        log.info("with")
        TRACEPARENT.set("")
        log.info("without")

    with_trace, without = logged(monkeypatch, say)
    assert with_trace["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in without


@pytest.mark.parametrize("odd", ["\udcff", 1 << 80, {"1": "one"}, [None, 1.5]])
def test_whatever_is_logged_makes_a_line(monkeypatch: pytest.MonkeyPatch, odd: Any) -> None:
    (line,) = logged(monkeypatch, lambda log: log.info("odd", what=odd, kind=object))
    assert (line["what"], line["kind"]) == (odd, "<class 'object'>")


async def test_more_requests_than_can_be_answered_in_time_are_refused_at_once() -> None:
    """All of them were taken, waited together, and were given up together after a minute."""
    going, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        entered.release()
        await going.wait()
        await PlainTextResponse("done")(scope, receive, send)

    transport = httpx.ASGITransport(app=Frame(wait, deadline=30, at_once=3))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        taken = [asyncio.create_task(client.get("/v2.1/servers")) for _ in range(3)]
        for _ in taken:
            await entered.acquire()
        refused = await client.get("/v2.1/servers")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["serviceUnavailable"]["message"].startswith("Too many requests")
        going.set()
        assert [(await one).text for one in taken] == ["done"] * 3
        assert (await client.get("/v2.1/servers")).text == "done"
