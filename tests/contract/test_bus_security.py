"""TLS, NKeys and permissions, against a nats-server that verifies its clients' certificates: an agent's user reaches
nothing but its host's subjects, and what can never work is said at once."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import nats.errors
import pytest
from attrs import evolve, frozen
from certificates import Authority, NatsUser, nats_user
from echoes import Answer, Question, echo
from substrate import NatsServer, eventually, running

from bus.client import Bus
from bus.service import Service
from bus.users import NKeyError, make_seed, public_key, user_block
from kv.client import Etcd
from schemas.errors import BusRefused, BusUnavailable, NobodyListens, StoreUnavailable, SubjectForbidden
from schemas.settings import BusSettings, StoreSettings, TlsFiles
from schemas.subjects import (
    AGENT_SERVICE,
    SCHEDULER_SELECT,
    agent_permissions,
    call,
    host_verb,
    inbox,
    report,
)

CELL, HOST, OTHER = "cell1", "node-1.example", "node-2.example"


@frozen(eq=False)
class Lab:
    """A nats-server that knows the control plane's user and one host's agent."""

    server: NatsServer
    authority: Authority
    stranger: Authority
    control: NatsUser
    agent: NatsUser
    files: TlsFiles
    directory: Path

    def settings(self, user: NatsUser) -> BusSettings:
        return BusSettings(self.server.url, user.seed_file, self.files)

    def config(self, certificate: TlsFiles, agent: NatsUser | None = None) -> str:
        everything = f'{{ nkey: {self.control.public}, permissions: {{ publish: ">", subscribe: ">" }} }}'
        users = [everything, user_block((agent or self.agent).public, agent_permissions(CELL, HOST))]
        return _tls(certificate) + f"accounts {{ KN: {{ users: [\n{chr(10).join(users)}\n] }} }}"

    @asynccontextmanager
    async def connected(self, user: NatsUser, prefix: str = "_INBOX") -> AsyncIterator[Bus]:
        bus = await Bus.connect(self.settings(user), "a test", prefix)
        try:
            yield bus
        finally:
            await bus.drain()


def _tls(certificate: TlsFiles) -> str:
    return (
        f'tls {{ cert_file: "{certificate.cert}", key_file: "{certificate.key}", ca_file: "{certificate.ca}", '
        "verify: true }\n"
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("bus-security")
    authority, stranger = Authority(directory / "ours"), Authority(directory / "theirs")
    control, agent = nats_user(directory, "control"), nats_user(directory, "agent")
    server = NatsServer(directory / "nats")
    made = Lab(server, authority, stranger, control, agent, authority.issue("client"), directory)
    server.configure(made.config(authority.issue("server")))
    with running(server):
        yield made


@pytest.fixture
async def control(lab: Lab) -> AsyncIterator[Bus]:
    async with lab.connected(lab.control) as bus:
        yield bus


@pytest.fixture
async def agent(lab: Lab) -> AsyncIterator[Bus]:
    async with lab.connected(lab.agent, inbox(HOST)) as bus:
        yield bus


# What an agent may do


async def test_an_agent_serves_reports_and_is_discovered(control: Bus, agent: Bus) -> None:
    service, above = Service(agent, AGENT_SERVICE, "0.1.0", ""), Service(control, "conductor", "0.1.0", "")
    await service.start()
    await above.start()
    await service.serve("command", host_verb(CELL, HOST, "command"), Question, echo)
    await above.serve("report-7", report(CELL, 7, "*"), Question, echo, queue="")
    assert (await control.request(host_verb(CELL, HOST, "command"), Question("do"), Answer, 5)).text == "do"
    assert (await agent.request(report(CELL, 7, HOST), Question("done"), Answer, 5)).text == "done"
    assert (await control.client.request(f"$SRV.INFO.{AGENT_SERVICE}", timeout=5)).data
    with pytest.raises(NobodyListens):
        await agent.request(report(CELL, 8, HOST), Question("done"), Answer, 5)
    await service.stop()
    await above.stop()


@pytest.mark.parametrize(
    "subject",
    [
        host_verb(CELL, OTHER, "command"),
        host_verb("cell2", HOST, "command"),
        f"kn.{CELL}.host.*.command",
        report(CELL, 7, "*"),
        report(CELL, 7, HOST),
        f"{inbox(OTHER)}.>",
        "_INBOX.>",
        "kn.>",
        ">",
        "$SRV.PING.scheduler",
        "$JS.>",
    ],
)
async def test_an_agent_hears_nothing_that_is_not_its_own(agent: Bus, subject: str) -> None:
    service = Service(agent, AGENT_SERVICE, "0.1.0", "")
    with pytest.raises(SubjectForbidden, match=r"a test at NATS .* may not subscribe"):
        await service.serve("x", subject, Question, echo)
    with pytest.raises(SubjectForbidden):
        await service.serve("x", subject, Question, echo, queue="")


@pytest.mark.parametrize(
    "subject",
    [
        report(CELL, 7, OTHER),
        report("cell2", 7, HOST),
        host_verb(CELL, HOST, "command"),
        host_verb(CELL, OTHER, "command"),
        SCHEDULER_SELECT,
        call(CELL),
        "kn.conductor.wake.7",
        "kn.cell1.conductor.wake.7",
        "$JS.API.INFO",
        "$SRV.PING",
    ],
)
async def test_an_agent_says_nothing_that_is_not_its_own_and_hears_so_at_once(agent: Bus, subject: str) -> None:
    """A forbidden request just timed out."""
    began = time.monotonic()
    with pytest.raises(SubjectForbidden, match="kilonova nats-permissions"):
        await agent.request(subject, Question("x"), Answer, 60)
    assert time.monotonic() - began < 30


async def test_a_hint_on_a_forbidden_subject_reaches_nobody(control: Bus, agent: Bus) -> None:
    heard: list[str] = []

    async def hear(question: Question, _: str) -> None:
        heard.append(question.text)

    service = Service(control, "conductor", "0.1.0", "")
    await service.serve("wake", "kn.cell1.conductor.wake.7", Question, hear, queue="")
    await agent.hint("kn.cell1.conductor.wake.7", Question("forged"))
    await agent.settle()
    await control.hint("kn.cell1.conductor.wake.7", Question("real"))
    await eventually(lambda: heard)
    assert heard == ["real"]
    await service.stop()


async def test_a_forbidden_request_harms_no_other(control: Bus, agent: Bus) -> None:
    above = Service(control, "conductor", "0.1.0", "")
    await above.serve("report-7", report(CELL, 7, "*"), Question, echo, queue="")
    asked = [agent.request(report(CELL, 7, host), Question(host), Answer, 30) for host in (HOST, OTHER) * 10]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(a) for a in answers] == [Answer, SubjectForbidden] * 10
    assert not agent._forbidden._asking
    await above.stop()


async def test_who_cannot_hear_answers_need_not_wait_for_them(lab: Lab) -> None:
    """As an agent whose user is another host's."""
    async with lab.connected(lab.agent, inbox(OTHER)) as bus:
        for _ in range(2):
            async with asyncio.timeout(30):
                with pytest.raises(SubjectForbidden, match=r"subscribe _inbox.*, where answers come"):
                    await bus.request(report(CELL, 7, HOST), Question("x"), Answer, 60)


async def test_who_is_cancelled_while_he_asks_is_cancelled(agent: Bus) -> None:
    asked = asyncio.create_task(agent.request(report(CELL, 7, OTHER), Question("x"), Answer, 60))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked], timeout=30)
    assert asked.cancelled()

    async def twice() -> str:
        for _ in range(2):
            with pytest.raises(SubjectForbidden):
                await agent.request(report(CELL, 7, OTHER), Question("x"), Answer, 60)
        task = asyncio.current_task()
        assert task is not None
        return f"cancelled {task.cancelling()} times"

    assert await asyncio.create_task(twice()) == "cancelled 0 times"


# What cannot work is said at once


def wrong_authority(lab: Lab) -> BusSettings:
    return evolve(lab.settings(lab.agent), tls=evolve(lab.files, ca=str(lab.stranger.ca)))


def no_certificate(lab: Lab) -> BusSettings:
    return evolve(lab.settings(lab.agent), tls=TlsFiles(lab.files.ca))


def foreign_certificate(lab: Lab) -> BusSettings:
    return evolve(lab.settings(lab.agent), tls=evolve(lab.stranger.issue("client"), ca=lab.files.ca))


def expired_certificate(lab: Lab) -> BusSettings:
    return evolve(lab.settings(lab.agent), tls=lab.authority.issue("expired", timedelta(days=-1)))


def unknown_key(lab: Lab) -> BusSettings:
    return lab.settings(nats_user(lab.directory, "unknown"))


def no_key(lab: Lab) -> BusSettings:
    return evolve(lab.settings(lab.agent), nkey_seed_file="")


def no_such_file(lab: Lab) -> BusSettings:
    return evolve(lab.settings(lab.agent), tls=TlsFiles(str(lab.directory / "missing.crt")))


def no_tls(lab: Lab) -> BusSettings:
    return evolve(lab.settings(lab.agent), tls=TlsFiles())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (wrong_authority, "certificate is not accepted: unable to get local issuer"),
        (no_certificate, "does not accept our certificate: .*REQUIRED"),
        (foreign_certificate, "does not accept our certificate: .*UNKNOWN_CA"),
        (expired_certificate, "does not accept our certificate: .*EXPIRED"),
        (unknown_key, "does not know our user"),
        (no_key, "does not know our user"),
        (no_such_file, "missing.crt"),
        (no_tls, "certificate is not accepted"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
async def test_wrong_credentials_end_the_start(lab: Lab, wrong: Callable[[Lab], BusSettings], said: str) -> None:
    """The client tried for ever, and its log alone said why."""
    async with asyncio.timeout(30):
        with pytest.raises(BusRefused, match=said):
            await Bus.connect(wrong(lab), "a test")


async def test_a_server_whose_certificate_has_ended_is_refused(lab: Lab, tmp_path: Path) -> None:
    server = NatsServer(tmp_path, more=_tls(lab.authority.issue("old", timedelta(days=-1))))
    with running(server):
        async with asyncio.timeout(30):
            with pytest.raises(BusRefused, match="certificate has expired"):
                await Bus.connect(evolve(lab.settings(lab.agent), url=server.url), "a test")


async def test_a_server_without_tls_gets_no_credentials(lab: Lab, nats_url: str) -> None:
    """nats-py spoke plain text to whoever did not ask for TLS."""
    async with asyncio.timeout(30):
        with pytest.raises(BusRefused, match="does not require TLS"):
            await Bus.connect(evolve(lab.settings(lab.agent), url=nats_url), "a test")


def test_a_seed_is_made_once_and_anything_else_is_refused(tmp_path: Path) -> None:
    seed = tmp_path / "agent.nk"
    made = make_seed(seed)
    assert made.startswith("U")
    assert make_seed(seed) == public_key(seed) == made
    assert seed.stat().st_mode & 0o077 == 0
    (tmp_path / "garbage").write_text("SUgarbage")
    for path in (tmp_path / "garbage", tmp_path / "missing"):
        with pytest.raises(NKeyError, match=path.name):
            public_key(path)


# Once connected, it is tried for ever


async def _served(asker: Bus) -> bool:
    try:
        return (await asker.request(host_verb(CELL, HOST, "command"), Question("?"), Answer, 1)).text == "?"
    except (BusUnavailable, NobodyListens):
        return False


async def test_what_is_wrong_for_a_while_is_waited_out(lab: Lab, tmp_path: Path) -> None:
    """A user that was missing for a moment closed nats-py's connection for good."""
    server = NatsServer(tmp_path)
    good, foreign = lab.authority.issue("server"), lab.stranger.issue("server")
    server.configure(lab.config(good))
    settings = evolve(lab.settings(lab.control), url=server.url)
    with running(server):
        asker = await Bus.connect(settings, "asker")
        agent = await Bus.connect(evolve(lab.settings(lab.agent), url=server.url), "agent", inbox(HOST))
        service = Service(agent, AGENT_SERVICE, "0.1.0", "")
        await service.serve("command", host_verb(CELL, HOST, "command"), Question, echo)
        assert await _served(asker)

        server.configure(lab.config(good, agent=nats_user(tmp_path, "nobody")))
        server.reload()
        await eventually(lambda: not agent.connected, 30)
        assert asker.connected
        server.configure(lab.config(good))
        server.reload()
        await eventually(lambda: _served(asker), 30)

        server.kill()
        server.configure(lab.config(foreign))
        server.start()
        await eventually(lambda: isinstance(agent.client.last_error, ssl.SSLCertVerificationError), 30)
        assert not agent.connected
        server.kill()
        server.configure(lab.config(good))
        server.start()
        await eventually(lambda: _served(asker), 30)
        for bus in (asker, agent):
            await bus.drain()


@pytest.mark.parametrize("files", [TlsFiles(cert="c"), TlsFiles(key="k", ca="a"), TlsFiles(cert="c", key="k")])
async def test_a_certificate_cannot_be_half_given(files: TlsFiles) -> None:
    """It would have been plain text."""
    with pytest.raises(BusRefused, match=r"tls\.cert"):
        await Bus.connect(BusSettings(tls=files), "a test")
    with pytest.raises(StoreUnavailable, match=r"tls\.cert"):
        Etcd(StoreSettings(tls=files))


def test_the_users_block_is_as_nats_server_wants_it(lab: Lab) -> None:
    block = user_block("UABC", agent_permissions("cell1", "n1"))
    assert '"kn.cell1.host.n1.>", "_INBOX.n1.>", "$SRV.*", "$SRV.*.agent", "$SRV.*.agent.*"' in block
    assert 'publish: { allow: ["kn.cell1.shard.*.report.n1"] }' in block


async def test_nats_py_tells_of_a_forbidden_subject_as_we_read_it(agent: Bus) -> None:
    told: list[str] = []

    async def hear(error: Exception) -> None:
        told.append(str(error))

    agent.client._error_cb = hear
    await agent.client.subscribe("kn.x", queue="q")
    await agent.client.publish("kn.y", b"")
    await agent.client.settle()
    assert told == [
        'nats: permissions violation for subscription to "kn.x" using queue "q"',
        'nats: permissions violation for publish to "kn.y"',
    ]
    assert isinstance(agent.client.last_error, nats.errors.Error)
