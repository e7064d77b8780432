"""Three members of one etcd with TLS on every port; each may be killed, paused and started again."""

import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from certificates import Authority
from ports import free_port
from substrate import Program, etcd_program

from kv.maintenance import Maintenance, MemberStatus
from schemas.settings import StoreSettings, TlsFiles


class Member(Program):
    def __init__(self, name: str, data: Path, files: TlsFiles, peers: dict[str, str]) -> None:
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self._context = ssl.create_default_context(cafile=files.ca)
        self._context.load_cert_chain(files.cert, files.key)
        client, peer = f"https://{self.endpoint}", peers[name]
        super().__init__(
            [
                etcd_program(),
                *("--name", name, "--data-dir", str(data / name)),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", ",".join(f"{n}={url}" for n, url in peers.items())),
                *("--client-cert-auth", "--trusted-ca-file", files.ca),
                *("--cert-file", files.cert, "--key-file", files.key),
                *("--peer-client-cert-auth", "--peer-trusted-ca-file", files.ca),
                *("--peer-cert-file", files.cert, "--peer-key-file", files.key),
                *("--log-level", "error", "--unsafe-no-fsync"),
            ]
        )

    def serves(self) -> bool:
        """It is a member of a cluster that has a leader."""
        try:
            url = f"https://{self.endpoint}/health"
            with urllib.request.urlopen(url, timeout=1, context=self._context) as answer:
                return b'"health":"true"' in answer.read()
        except OSError:
            return False


@frozen(eq=False)
class EtcdCluster:
    authority: Authority
    files: TlsFiles
    """a client's"""
    members: dict[str, Member]
    """by endpoint"""

    def settings(self, timeout: float = 2.0) -> StoreSettings:
        return StoreSettings(tuple(self.members), timeout=timeout, tls=self.files)

    async def leader(self) -> Member:
        """Of those that answer; there may be none for a moment."""
        return self.members[next(m.endpoint for m in await self._seen() if m.leads)]

    async def followers(self) -> list[Member]:
        return [self.members[m.endpoint] for m in await self._seen() if not m.leads and not m.fault]

    async def _seen(self) -> list[MemberStatus]:
        return await Maintenance(self.settings(1.0)).members()

    def ensure(self) -> None:
        for member in self.members.values():
            member.ensure()


@contextmanager
def running_cluster(directory: Path, size: int = 3) -> Iterator[EtcdCluster]:
    authority = Authority(directory / "ca")
    names = [f"m{n}" for n in range(size)]
    peers = {name: f"https://127.0.0.1:{free_port()}" for name in names}
    members = [Member(name, directory, authority.issue(name), peers) for name in names]
    try:
        for member in members:
            member.launch()
        for member in members:
            member.await_service()
        yield EtcdCluster(authority, authority.issue("client"), {m.endpoint: m for m in members})
    finally:
        for member in members:
            member.stop()
