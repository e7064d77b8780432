"""The contract of `bus`: requests and their errors, deadlines, hints, discovery, and a NATS that dies or pauses."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson
import pytest
from echoes import Answer, Pair, Question, echo, paired
from substrate import eventually

from bus.client import DEADLINE, ERROR, TRACE, Bus
from bus.service import SKEW_SECONDS, Service
from schemas.codec import dumps, loads
from schemas.context import REQUEST_ID, TRACEPARENT
from schemas.errors import (
    BY_NAME,
    BusUnavailable,
    Conflict,
    HostFull,
    KilonovaError,
    NobodyListens,
    NotFound,
    QuotaExceeded,
)
from schemas.settings import BusSettings


@pytest.fixture
async def pair(bus_settings: BusSettings) -> AsyncIterator[Pair]:
    async with paired(bus_settings.url) as made:
        yield made


# Requests


async def test_a_request_gets_its_answer(pair: Pair) -> None:
    await pair.serve(echo)
    assert await pair.ask("hällo\n") == "hällo\n"
    texts = [str(n) for n in range(200)]
    assert await asyncio.gather(*(pair.ask(text) for text in texts)) == texts


async def test_a_cancel_that_meets_the_answer_is_not_lost(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio.wait_for of Python 3.11, which nats-py waits with, gives the answer and forgets that it was cancelled: an
    agent that was told to stop went on for ever."""
    await pair.serve(echo)
    real = pair.asker.client.request
    asked = asyncio.Event()

    async def request(*args: Any, **more: Any) -> Any:
        answer = await real(*args, **more)
        try:
            asked.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
        return answer

    monkeypatch.setattr(pair.asker.client, "request", request)
    asking = asyncio.create_task(pair.ask())
    await asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_handler_learns_subject_and_request_id(pair: Pair) -> None:
    async def tell(_: Question, subject: str) -> Answer:
        return Answer(f"{subject} {REQUEST_ID.get()}")

    await pair.service.serve("tell", f"{pair.prefix}.tell.*", Question, tell)
    REQUEST_ID.set("req-1")
    assert await pair.ask(to="tell.x") == f"{pair.prefix}.tell.x req-1"
    REQUEST_ID.set("")
    assert await pair.ask(to="tell.y") == f"{pair.prefix}.tell.y "


async def test_a_handler_goes_on_with_the_trace(pair: Pair) -> None:
    heard: list[str] = []

    async def tell(_: Question, __: str) -> Answer:
        heard.append(TRACEPARENT.get())
        return Answer(TRACEPARENT.get())

    await pair.serve(tell)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    TRACEPARENT.set(trace)
    assert await pair.ask() == trace
    await pair.asker.hint(f"{pair.prefix}.echo", Question("?"))
    await eventually(lambda: heard == [trace, trace])
    TRACEPARENT.set("")
    assert await pair.ask() == ""
    subject, body = f"{pair.prefix}.echo", dumps(Question("x"))
    for malformed in ("0af7", trace.upper(), trace.replace("00-", "ff-", 1)):
        reply = await pair.asker.client.request(subject, body, timeout=5, headers={TRACE: malformed})
        assert loads(Answer, reply.data).text == ""


async def test_nobody_listens_is_known_at_once(pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(NobodyListens, match=f"no process serves {pair.prefix}.nothing"):
        await pair.ask(to="nothing", timeout=10)
    assert time.monotonic() - began < 5


async def test_no_answer_in_time(pair: Pair) -> None:
    async def sleep(_: Question, __: str) -> Answer:
        await asyncio.sleep(60)
        return Answer("late")

    endpoint = await pair.serve(sleep)
    with pytest.raises(BusUnavailable, match=r"within 0\.1 s"):
        await pair.ask(timeout=0.1)
    for task in endpoint.running:
        task.cancel()


@pytest.mark.parametrize(
    "error",
    [
        NotFound("Instance x could not be found."),
        QuotaExceeded("Quota exceeded, too many: Ünïcode – “quotes”"),
        HostFull("two\r\nlines\nand\ttabs: colons: a=b"),
        Conflict("  spaces around  "),
        KilonovaError(""),
        Conflict("long " * 2000),
    ],
    ids=lambda e: type(e).__name__ + str(len(str(e))),
)
async def test_errors_cross_as_what_they_are(pair: Pair, error: KilonovaError) -> None:
    async def fail(_: Question, __: str) -> Answer:
        raise error

    await pair.serve(fail)
    with pytest.raises(type(error)) as caught:
        await pair.ask()
    assert type(caught.value) is type(error)
    assert caught.value.message == re.sub(r"[\r\n]", " ", error.message).strip()


async def test_a_foreign_error_names_its_class(pair: Pair) -> None:
    async def fail(_: Question, __: str) -> Answer:
        raise ZeroDivisionError("division by zero")

    endpoint = await pair.serve(fail)
    with pytest.raises(KilonovaError, match="ZeroDivisionError: division by zero") as caught:
        await pair.ask()
    assert type(caught.value) is KilonovaError
    await eventually(lambda: (endpoint.requests, endpoint.errors) == (1, 1))
    assert "division by zero" in endpoint.last_error


async def test_what_is_no_question_is_refused(pair: Pair) -> None:
    await pair.serve(echo)
    for payload in (b"{", b'{"record":"Question/2","text":"x"}', b"{}"):
        reply = await pair.asker.client.request(f"{pair.prefix}.echo", payload, timeout=2)
        assert reply.headers is not None
        assert reply.headers["Nats-Service-Error-Code"] == "500"
        assert reply.headers["Nats-Service-Error"]


async def test_a_malformed_deadline_is_refused_too(pair: Pair) -> None:
    """The task that met one died without an answer."""
    await pair.serve(echo)
    subject, body = f"{pair.prefix}.echo", dumps(Question("x"))
    reply = await pair.asker.client.request(subject, body, timeout=2, headers={DEADLINE: "soon"})
    assert reply.headers is not None
    assert "Nats-Service-Error" in reply.headers


async def test_every_error_of_the_tree_crosses(pair: Pair) -> None:
    async def fail(question: Question, _: str) -> Answer:
        raise BY_NAME[question.text]("said")

    await pair.serve(fail)
    for name, cls in BY_NAME.items():
        with pytest.raises(cls, match="said") as caught:
            await pair.ask(name)
        assert type(caught.value) is cls


# Deadlines and hints


async def test_after_its_deadline_a_message_is_refused_and_its_sender_told_why(pair: Pair) -> None:
    """A host whose clock was two seconds ahead dropped every command without a word, and was given builds all the time:
    clocks may differ a little, and where they differ more both sides say so."""
    served = []

    async def serve(question: Question, _: str) -> Answer:
        served.append(question.text)
        return Answer(question.text)

    await pair.serve(serve)
    subject, now = f"{pair.prefix}.echo", time.time()
    for name, deadline in (("skewed", now - SKEW_SECONDS / 2), ("timely", now + 5)):
        await pair.asker.client.request(
            subject, dumps(Question(name)), headers={DEADLINE: f"{deadline:.3f}"}, timeout=5
        )
    late = {DEADLINE: f"{now - SKEW_SECONDS - 60:.3f}"}
    reply = await pair.asker.client.request(subject, dumps(Question("late")), headers=late, timeout=5)
    assert served == ["skewed", "timely"]
    assert reply.headers
    assert "the clocks of the two machines differ" in reply.headers[ERROR]
    assert float(reply.headers[ERROR].split(" got this ")[1].split()[0]) >= 65


async def test_a_hint_reaches_one_of_a_queue_and_all_without(pair: Pair) -> None:
    one: list[str] = []
    every: list[str] = []

    def into(seen: list[str]) -> Callable[[Question, str], Awaitable[None]]:
        async def handler(question: Question, _: str) -> None:
            seen.append(question.text)

        return handler

    for n in range(3):
        await pair.service.serve(f"one-{n}", f"{pair.prefix}.hint", Question, into(one))
        await pair.service.serve(f"every-{n}", f"{pair.prefix}.hint", Question, into(every), queue="")
    for n in range(10):
        await pair.asker.hint(f"{pair.prefix}.hint", Question(str(n)))
    await eventually(lambda: len(every) == 30 and len(one) == 10)


async def test_a_hint_never_raises(bus_settings: BusSettings) -> None:
    bus = await Bus.connect(bus_settings, "closed")
    await bus.drain()
    await bus.hint("somewhere", Question("x"))
    await bus.drain()
    with pytest.raises(BusUnavailable):
        await bus.request("somewhere", Question("x"), Answer, 1)


# Serving


async def test_calls_of_one_function_run_side_by_side(pair: Pair) -> None:
    gate = asyncio.Event()
    inside = 0

    async def handler(question: Question, _: str) -> Answer:
        nonlocal inside
        inside += 1
        await gate.wait()
        return Answer(question.text)

    await pair.serve(handler)
    asked = [asyncio.create_task(pair.ask(str(n))) for n in range(20)]
    await eventually(lambda: inside == 20)
    gate.set()
    assert await asyncio.gather(*asked) == [str(n) for n in range(20)]


async def test_what_is_withdrawn_takes_no_more_and_finishes_what_it_took(pair: Pair) -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    async def handler(question: Question, _: str) -> Answer:
        entered.set()
        await gate.wait()
        return Answer(question.text)

    endpoint = await pair.serve(handler)
    asked = asyncio.create_task(pair.ask("taken"))
    await entered.wait()
    await pair.service.withdraw(endpoint)
    await pair.service.withdraw(endpoint)
    await pair.server.settle()
    with pytest.raises(NobodyListens):
        await pair.ask("refused")
    gate.set()
    assert await asked == "taken"
    await pair.serve(echo)
    assert await pair.ask("again") == "again"


async def test_stopping_waits_for_what_runs(pair: Pair) -> None:
    entered = asyncio.Event()

    async def handler(question: Question, _: str) -> Answer:
        entered.set()
        await asyncio.sleep(0.2)
        return Answer(question.text)

    await pair.serve(handler)
    asked = asyncio.create_task(pair.ask("last"))
    await entered.wait()
    await pair.service.stop()
    assert await asked == "last"
    await pair.server.settle()
    with pytest.raises(NobodyListens):
        await pair.ask()


# Discovery: NATS's services protocol (ADR-32)

NAME = re.compile(r"^[a-zA-Z0-9_-]+$")
SEMVER = re.compile(r"^\d+\.\d+\.\d+$")
BASICS = {"type", "name", "id", "version", "metadata"}


async def discover(pair: Pair, verb: str, *path: str) -> dict[str, Any]:
    reply = await pair.asker.client.request(".".join(("$SRV", verb, *path)), b"", timeout=2)
    found: dict[str, Any] = orjson.loads(reply.data)
    return found


async def test_discovery_answers_in_the_documented_format(pair: Pair) -> None:
    await pair.service.serve("a", f"{pair.prefix}.a", Question, echo)

    async def fail(_: Question, __: str) -> Answer:
        raise NotFound("nothing there")

    await pair.service.serve("b", f"{pair.prefix}.b", Question, fail, queue="others")
    await pair.ask(to="a")
    with suppress(NotFound):
        await pair.ask(to="b")
    name = pair.service._about["name"]

    ping = await discover(pair, "PING", name)
    assert set(ping) == BASICS
    assert ping["type"] == "io.nats.micro.v1.ping_response"
    assert NAME.match(ping["name"])
    assert SEMVER.match(ping["version"])
    assert ping["metadata"] == {}

    info = await discover(pair, "INFO", name, ping["id"])
    assert info["type"] == "io.nats.micro.v1.info_response"
    assert {k: v for k, v in info.items() if k in BASICS - {"type"}} == {k: v for k, v in ping.items() if k != "type"}
    assert set(info) == BASICS | {"description", "endpoints"}
    assert info["description"] == "a service of a test"
    assert info["endpoints"] == [
        {"name": "a", "subject": f"{pair.prefix}.a", "queue_group": "q", "metadata": {}},
        {"name": "b", "subject": f"{pair.prefix}.b", "queue_group": "others", "metadata": {}},
    ]

    async def counted() -> bool:
        return all(e["num_requests"] == 1 for e in (await discover(pair, "STATS", name))["endpoints"])

    await eventually(counted)
    stats = await discover(pair, "STATS", name, ping["id"])
    assert stats["type"] == "io.nats.micro.v1.stats_response"
    assert set(stats) == BASICS | {"started", "endpoints"}
    assert stats["started"].endswith("Z")
    assert datetime.fromisoformat(stats["started"]).tzinfo is not None
    a, b = stats["endpoints"]
    fields = {"name", "subject", "queue_group", "num_requests", "num_errors", "last_error"}
    fields |= {"processing_time", "average_processing_time"}
    assert set(a) == set(b) == fields
    assert (a["num_errors"], a["last_error"], b["num_errors"]) == (0, "", 1)
    assert "nothing there" in b["last_error"]
    assert all(isinstance(a[k], int) for k in fields if k.startswith(("num", "proc", "aver")))
    assert a["processing_time"] >= a["average_processing_time"] > 0


async def test_everybody_answers_a_ping(pair: Pair) -> None:
    seen = []
    inbox = pair.asker.client.new_inbox()

    async def heard(message: Any) -> None:
        seen.append(orjson.loads(message.data)["id"])

    await pair.asker.client.subscribe(inbox, cb=heard)
    await pair.asker.client.publish("$SRV.PING", b"", reply=inbox)
    await eventually(lambda: pair.service._about["id"] in seen)


async def test_names_are_made_fit_for_the_protocol(bus_settings: BusSettings) -> None:
    """A host called `node.example` made an endpoint that the nats tools refuse to show."""
    bus = await Bus.connect(bus_settings, "x")
    service = Service(bus, "conductor-cell.one", "0.1.0", "")
    await service.start()
    await service.serve("node.example command", f"t{uuid4().hex}", Question, echo)
    reply = await bus.client.request("$SRV.INFO.conductor-cell_one", b"", timeout=2)
    info = orjson.loads(reply.data)
    assert (info["name"], info["endpoints"][0]["name"]) == ("conductor-cell_one", "node_example_command")
    await service.stop()
    await bus.drain()
