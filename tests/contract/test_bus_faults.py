"""The contract of `bus` with a NATS that dies, pauses or is not there yet: errors in time, nothing served too late, and
all is found again."""

import asyncio
import time
from contextlib import suppress

import pytest
from echoes import Answer, Pair, Question, echo, paired
from ports import free_port
from structlog.testing import capture_logs
from substrate import NatsServer, eventually

from bus import service as service_module
from bus.client import Bus
from schemas.errors import BusUnavailable, NobodyListens
from schemas.settings import BusSettings


async def _served(pair: Pair) -> bool:
    try:
        return await pair.ask("?", timeout=0.5) == "?"
    except (BusUnavailable, NobodyListens):
        return False


@pytest.fixture
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides have it, so that nothing is allowed for what clocks differ by."""
    monkeypatch.setattr(service_module, "SKEW_SECONDS", 0.0)


async def test_a_killed_nats_is_found_again(fragile_nats: NatsServer) -> None:
    async with paired(fragile_nats.url) as pair:
        endpoint = await pair.serve(echo)
        assert await pair.ask() == "?"
        fragile_nats.kill()
        with pytest.raises(BusUnavailable):
            await pair.ask(timeout=0.3)
        await pair.asker.hint(f"{pair.prefix}.echo", Question("lost"))
        await eventually(lambda: not pair.asker.connected)
        fragile_nats.start()
        await eventually(lambda: _served(pair))
        assert pair.asker.connected
        served = endpoint.requests
        assert await pair.ask() == "?"
        await eventually(lambda: endpoint.requests == served + 1)


@pytest.mark.usefixtures("one_clock")
async def test_what_waited_out_a_pause_is_dropped(fragile_nats: NatsServer) -> None:
    served = []

    async def serve(question: Question, _: str) -> Answer:
        served.append(question.text)
        return Answer("")

    async with paired(fragile_nats.url) as pair:
        await pair.serve(serve)
        fragile_nats.pause()
        with pytest.raises(BusUnavailable):
            await pair.ask("waited", timeout=0.3)
        fragile_nats.resume()
        await pair.ask("fresh")
        assert served == ["fresh"]


async def test_connecting_waits_for_a_nats_that_comes_later(fragile_nats: NatsServer) -> None:
    fragile_nats.kill()
    connecting = asyncio.create_task(Bus.connect(BusSettings(fragile_nats.url), "early"))
    await asyncio.sleep(0.5)
    assert not connecting.done(), connecting
    fragile_nats.start()
    bus = await asyncio.wait_for(connecting, 30)
    assert bus.connected
    await bus.drain()


async def test_drain_ends_though_nats_is_gone(fragile_nats: NatsServer) -> None:
    """It raised CancelledError, as if somebody had cancelled the one who drained."""
    bus = await Bus.connect(BusSettings(fragile_nats.url), "leaving")
    fragile_nats.kill()
    await asyncio.wait_for(bus.drain(), 30)
    assert not bus.connected


async def test_of_several_servers_one_that_answers_is_enough(fragile_nats: NatsServer) -> None:
    url = f"nats://127.0.0.1:{free_port()},{fragile_nats.url}"
    async with asyncio.timeout(30), paired(url) as pair:
        await pair.serve(echo)
        assert await pair.ask("hello") == "hello"


async def test_a_wrong_port_is_tried_for_ever_and_can_be_given_up() -> None:
    connecting = asyncio.create_task(Bus.connect(BusSettings(f"nats://127.0.0.1:{free_port()}"), "lost"))
    await asyncio.sleep(0.3)
    assert not connecting.done()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting


@pytest.mark.usefixtures("one_clock")
async def test_a_pause_of_seconds_costs_nothing_but_time(fragile_nats: NatsServer) -> None:
    """Who asks is told in time; what was said meanwhile comes late and is dropped unless it may still matter."""
    served = []

    async def serve(question: Question, _: str) -> Answer:
        served.append(question.text)
        return Answer(question.text)

    async with paired(fragile_nats.url) as pair:
        await pair.serve(serve)
        fragile_nats.pause()
        patient = asyncio.create_task(pair.ask("patient", timeout=30))
        began = time.monotonic()
        hasty = await asyncio.gather(*(pair.ask("hasty", timeout=1) for _ in range(20)), return_exceptions=True)
        assert {type(h) for h in hasty} == {BusUnavailable}
        assert time.monotonic() - began < 10
        await pair.asker.hint(f"{pair.prefix}.echo", Question("hint"))
        await asyncio.gather(*(pair.ask("hasty", timeout=2) for _ in range(20)), return_exceptions=True)
        fragile_nats.resume()
        assert await patient == "patient"
        await eventually(lambda: "hint" in served, 30)
        assert sorted(served) == ["hint", "patient"]
        assert pair.asker.client.stats["reconnects"] == 0


@pytest.mark.usefixtures("one_clock")
async def test_what_was_said_to_a_dead_nats_is_not_served_after_its_deadline(fragile_nats: NatsServer) -> None:
    """nats-py keeps what is sent while there is no server, and sends it when one is back."""
    served = []

    async def serve(question: Question, _: str) -> Answer:
        served.append(question.text)
        return Answer("")

    async with paired(fragile_nats.url) as pair:
        await pair.serve(serve)
        fragile_nats.kill()
        await eventually(lambda: not pair.asker.connected)
        with pytest.raises(BusUnavailable, match="within"):
            await pair.ask("kept", timeout=0.2)
        fragile_nats.start()

        async def answered() -> bool:
            with suppress(BusUnavailable, NobodyListens):
                await pair.ask("fresh", timeout=0.5)
                return True
            return False

        await eventually(answered, 30)
        assert "kept" not in served


async def test_who_waits_when_nats_is_killed_hears_so_in_time_and_its_loss_is_in_the_log(
    fragile_nats: NatsServer,
) -> None:
    async def sleep(_: Question, __: str) -> Answer:
        await asyncio.sleep(0.5)
        return Answer("nobody hears it")

    async with paired(fragile_nats.url) as pair:
        endpoint = await pair.serve(sleep)
        with capture_logs() as logs:
            asked = [asyncio.create_task(pair.ask(timeout=2)) for _ in range(5)]
            await eventually(lambda: len(endpoint.running) == 5)
            fragile_nats.kill()
            answers = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
            assert {type(a) for a in answers} == {BusUnavailable}
            fragile_nats.start()
            await eventually(lambda: pair.asker.connected and pair.server.connected, 30)
        assert {"bus lost", "bus found again"} <= {line["event"] for line in logs}
        assert endpoint.requests == 5
        assert endpoint.errors == 0, endpoint.last_error


async def test_drain_ends_though_nats_is_paused(fragile_nats: NatsServer) -> None:
    async with paired(fragile_nats.url) as pair:
        await pair.serve(echo)
        fragile_nats.pause()
        await asyncio.wait_for(pair.service.stop(), 30)
        await asyncio.wait_for(asyncio.gather(pair.asker.drain(), pair.server.drain()), 30)
        assert not pair.asker.connected
        assert not pair.server.connected
        fragile_nats.resume()
