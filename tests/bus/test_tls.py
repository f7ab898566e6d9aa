"""A client trusts the pinned authorities, refuses clear text, and names the problem of an untrusted server."""

import asyncio
import gc
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from writ_bus.errors import Unreachable
from writ_bus.nats.bus import connect
from writ_bus.nats.options import Options
from writ_bus.nats.tls import TlsOptions, check_encrypted, check_schemes, pinned, tls_context, tls_of
from writ_contracts.errors import ConfigError
from writ_installation.server_access.certificates import issue, make_authority
from writ_installation.server_access.cluster_certificate import Certificate
from writ_nats_server.cluster import TlsFiles
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.peers.nats_server import WritServer, anybody
from writ_trust.keys import generate_seed

CA = TlsOptions(ca="ca.pem")
NOW = datetime.now(UTC)
CLIENTS = ("direct", "plain")
module = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "url",
    ["nats://127.0.0.1:4222", "nats://localhost", "127.0.0.2:4222", "nats://[::1]:4222", "tls://hub", "wss://hub"],
)
def test_server_on_loopback_or_with_tls_needs_no_setting(url: str) -> None:
    check_encrypted([url], None)


@pytest.mark.parametrize(
    "url",
    ["nats://hub:4222", "10.0.0.1:4222", "nats://[fe80::1]", "ws://hub", "nats://localhost.evil", "nats://0.0.0.0"],
)
def test_server_beyond_loopback_is_not_reached_in_clear_text(url: str) -> None:
    with pytest.raises(ConfigError, match="is on another machine and has no TLS: use tls://"):
        check_encrypted(["nats://127.0.0.1", url], None)


@pytest.mark.parametrize("url", ["http://127.0.0.1:4222", "https://hub", "nat://hub:4222"])
async def test_url_of_another_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    check_schemes(["nats://hub", "tls://hub", "ws://hub", "wss://hub", "127.0.0.1:4222", "hub"])
    scheme = url.partition(":")[0]
    expected = f"^{url} is not the URL of a NATS server: its scheme is '{scheme}', and must be one of nats, tls, ws,"
    with pytest.raises(ConfigError, match=expected):
        await connect(anybody(url, wait=0.5))


@pytest.mark.parametrize("check", [check_schemes, lambda servers: check_encrypted(servers, None)])
def test_error_of_a_url_has_no_password(check: Callable[[list[str]], None]) -> None:
    with pytest.raises(ConfigError, match=r"^(http|nats)://hub:4222 is ") as refused:
        check(["http://alice:s3cret@hub:4222"] if check is check_schemes else ["nats://alice:s3cret@hub:4222"])
    assert "s3cret" not in str(refused.value)


def test_ca_encrypts_every_url_but_those_of_plain_websockets() -> None:
    check_encrypted(["nats://hub:4222"], CA)
    with pytest.raises(ConfigError, match="ws://hub"):
        check_encrypted(["ws://hub"], CA)


async def test_plaintext_is_allowed_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(
        name="x", servers=["nats://192.0.2.1:4222"], seed=generate_seed(), inbox_prefix="_INBOX_x", wait=0.05
    )
    with pytest.raises(ConfigError, match="WRIT_NATS_PLAINTEXT=allow"):
        await connect(options)
    with pytest.raises(Unreachable):
        await connect(replace(options, plaintext=True))
    monkeypatch.setenv("WRIT_NATS_PLAINTEXT", "allow")
    assert Options(name="x", servers=[], seed=b"", inbox_prefix="").plaintext


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no usable certificate")
    for ca in (str(tmp_path / "bad.pem"), str(tmp_path / "none.pem"), "der:AAAA", "der:not base64"):
        with pytest.raises(ConfigError, match="WRIT_TLS_CA"):
            tls_context(TlsOptions(ca=ca))
    assert tls_of({}) is None


class Served:
    """A server with TLS on loopback, and the files of its certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = make_authority("test", NOW)
        self.server = WritServer(folder, ["alice"], [])
        self.ca = self.file("ca.pem", self.authority.public)
        self.use(issue(self.authority, ["127.0.0.1"], NOW))

    def file(self, name: str, data: bytes) -> str:
        """Write a file; return its path."""
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def use(self, certificate: Certificate) -> None:
        """Have the server's next start show this certificate."""
        files = TlsFiles(
            certificate=self.file("s.pem", certificate.public), key=self.file("s.key", certificate.private)
        )
        self.server.plan = replace(self.server.plan, tls=files)
        self.server.config.parent.mkdir(exist_ok=True)

    async def shows(self, certificate: Certificate) -> None:
        """Have the running server show this certificate."""
        self.use(certificate)
        await self.server.process.reload()

    def options(self, client: str = "direct", **changed: object) -> Options:
        """Return alice's options, by which she trusts the CA."""
        values = {"tls": TlsOptions(ca=self.ca), "client": client, "wait": 20.0, **changed}
        return self.server.options("alice", **values)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    one = Served(tmp_path_factory.mktemp("tls"))
    await one.server.start()
    try:
        yield one
    finally:
        await one.server.stop()


async def refusal(options: Options) -> str:
    with pytest.raises(Unreachable) as caught:
        await connect(options)
    return str(caught.value)


@module
async def test_pinned_ca_is_trusted_and_another_is_not(served: Served) -> None:
    der = ssl.PEM_cert_to_DER_cert(served.authority.public.decode())
    await (await connect(served.options(tls=TlsOptions(ca=pinned([der]))))).close()
    other = served.file("other.pem", make_authority("other", NOW).public)
    assert "not signed by a CA that is trusted here (WRIT_TLS_CA)" in await refusal(
        served.options(tls=TlsOptions(ca=other))
    )


@module
async def test_client_without_a_ca_names_the_variable(served: Served) -> None:
    assert "WRIT_TLS_CA" in await refusal(served.options(tls=None))
    assert "WRIT_TLS_CA" in await refusal(
        served.options(tls=None, servers=[served.server.url.replace("nats", "tls", 1)])
    )


@module
async def test_certificate_that_is_expired_or_for_another_name_is_named_as_such(served: Served) -> None:
    try:
        await served.shows(issue(served.authority, ["127.0.0.1"], NOW - timedelta(days=91)))
        assert "its certificate has expired" in await refusal(served.options())
        await served.shows(issue(served.authority, ["192.0.2.1", "hub.example.org"], NOW))
        assert "its certificate is for another address" in await refusal(served.options())
    finally:
        await served.shows(issue(served.authority, ["127.0.0.1"], NOW))


@asynccontextmanager
async def in_between(port: int, change: bool) -> AsyncIterator[int]:
    """Yield the port of a proxy that, with `change`, makes the server's first line claim that TLS is not needed.

    It then relays all bytes, and records those of the client.
    """

    async def relay(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, recorded_bytes: bytearray | None = None
    ) -> None:
        while data := await source.read(65536):
            if recorded_bytes is not None:
                recorded_bytes += data
            sink.write(data)
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", port)
        info = json.loads((await theirs.readline()).removeprefix(b"INFO "))
        if change:
            info |= {"tls_required": False, "tls_available": False}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        await asyncio.gather(relay(reader, ours, sent), relay(theirs, writer), return_exceptions=True)

    sent = bytearray()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    in_the_clear.append(bytes(sent))


in_the_clear: list[bytes] = []


@module
@pytest.mark.parametrize("client", CLIENTS)
async def test_client_with_a_ca_cannot_be_made_to_omit_tls(served: Served, client: str) -> None:
    """nats-py alone would send its signature of the nonce in the clear here."""
    async with in_between(served.server.plan.port, change=True) as port:
        bus = await connect(served.options(client, servers=[f"nats://127.0.0.1:{port}"], wait=10.0))
        await bus.close()
    assert in_the_clear
    assert b"CONNECT" not in in_the_clear[-1]


@module
@pytest.mark.parametrize("client", CLIENTS)
async def test_server_without_tls_gets_no_signature(served: Served, client: str, tmp_path: Path) -> None:
    bare = WritServer(tmp_path, ["alice"], [])
    await bare.start()
    try:
        text = await refusal(replace(served.options(client), servers=[bare.url]))
    finally:
        await bare.stop()
    assert "does not offer TLS" in text


@module
async def test_added_ca_counts_at_the_next_connection(served: Served) -> None:
    former = served.authority
    path = served.file("both.pem", former.public)
    bus = await connect(served.options(tls=TlsOptions(ca=path)))

    async def connected() -> bool:
        return bus.connected

    try:
        new = make_authority("test", NOW)
        served.file("both.pem", new.public)
        await served.shows(issue(new, ["127.0.0.1"], NOW))
        await served.server.process.stop()
        await served.server.start()
        await eventually(connected, what="the connection", within=20)
    finally:
        await bus.close()
        await served.shows(issue(former, ["127.0.0.1"], NOW))


@module
async def test_removed_ca_does_not_count_at_the_next_connection(served: Served) -> None:
    path, log = served.file("now.pem", served.authority.public), served.folder / "nats-server.log"
    bus = await connect(served.options(tls=TlsOptions(ca=path)))
    try:
        served.file("now.pem", make_authority("test", NOW).public)
        await served.server.process.stop()
        before = log.read_text().count("TLS handshake error")
        await served.server.start()

        async def refused() -> bool:
            return log.read_text().count("TLS handshake error") > before

        await eventually(refused, what="the refusal", within=20)
        assert not bus.connected
    finally:
        await bus.close()


@module
async def test_connecting_that_is_given_up_during_refused_handshakes_leaves_no_pending_task(served: Served) -> None:
    loop, reported = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: reported.append(context["message"]))
    stranger = TlsOptions(ca=served.file("stranger.pem", make_authority("stranger", NOW).public))
    try:
        for wait in (0.3, 0.6):
            with pytest.raises(Unreachable):
                await connect(served.options(tls=stranger, wait=wait))
            gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert reported == []


@module
@pytest.mark.parametrize("client", some(CLIENTS, "direct"))
async def test_client_closes_at_once_while_the_server_is_frozen(served: Served, client: str) -> None:
    bus = await connect(served.options(client))
    served.server.process.pause()
    try:
        async with asyncio.timeout(10):
            await bus.close()
    finally:
        served.server.process.resume()
