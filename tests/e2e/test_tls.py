"""An installation with TLS on NATS: clients that pin its CA, and renewal of a certificate under load."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from tests.gateway.test_service import http_gateway

from writ_bus.errors import Unreachable
from writ_bus.nats.tls import TlsOptions, tls_context
from writ_client.client import Writ
from writ_client.context import read_context
from writ_installation.server_access import server_tls
from writ_installation.server_access.certificates import issue, make_authority
from writ_installation.server_access.issued_certificate import issued
from writ_nats_server.cluster import TlsFiles
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    prepare,
    running_installation,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
ELSEWHERE = "local-elsewhere"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation on loopback; its second target is on another host, whose agent has yet to enrol."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "files").mkdir()
    far = local_target("far", folder / "files", connection={"host": "elsewhere"})
    home = prepare(folder, targets=[local_target("web-1", folder / "files"), far])
    async with running_installation(folder, home=home, arguments=["--tls", "required"]) as running:
        yield running


async def context_of(installation: RunningInstallation, folder: Path) -> Path:
    """Return the context that `writ context` gives a client elsewhere."""
    ended = await installation.writ("context", "-o", "json")
    assert ended.status == 0, ended
    path = folder / "context.json"
    path.write_text(ended.out)
    return path


async def shown(installation: RunningInstallation, context: ssl.SSLContext) -> bytes:
    """Return NATS' present certificate. Raises SSLError if the context does not trust it."""
    port = int(installation.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readline()
        await writer.start_tls(context, server_hostname="127.0.0.1")
        return bytes(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    finally:
        writer.close()


async def test_an_operation_is_carried_out_over_tls_alone(installation: RunningInstallation) -> None:
    assert installation.url.startswith("tls://127.0.0.1:")
    async with await installation.client() as writ:
        assert (await writ.run("test_noop", "web-1")).outcome == "succeeded"
    seed = installation.home.seed_file("principal-operator").read_bytes()
    with pytest.raises(Unreachable, match="WRIT_TLS_CA"):
        await Writ.connect(installation.url.replace("tls", "nats", 1), seed=seed, principal="operator")


@pytest.mark.exhaustive
async def test_the_end_of_the_certificate_is_shown_and_measured(installation: RunningInstallation) -> None:
    known = issued(installation.home)
    status = await installation.writ("status", "-o", "json")
    assert known is not None
    assert json.loads(status.out)["certificate_ends"] == known.ends
    await eventually(lambda: is_measured(installation, known.ends), what="the end of the certificate")


async def is_measured(installation: RunningInstallation, ends: float) -> bool:
    port = json.loads((installation.home.run / "audit.json").read_text())["health_port"]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    name = 'writ_nats_certificate_end_seconds{connections="clients",server="writ"} '
    return ends in [float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)]


async def test_a_context_pins_the_ca_and_needs_no_other_file(installation: RunningInstallation, tmp_path: Path) -> None:
    path = await context_of(installation, tmp_path)
    context = read_context(path)
    assert (context.tls_ca or "").startswith("der:")
    async with await Writ.from_context(path) as writ:
        assert (await writ.run("test_noop", "web-1")).outcome == "succeeded"


async def token(installation: RunningInstallation) -> str:
    made = await installation.writ("agent", "token", ELSEWHERE, "-o", "json")
    assert made.status == 0, made
    return str(json.loads(made.out)["token"])


async def test_a_host_enrols_with_the_ca_of_its_token(installation: RunningInstallation, tmp_path: Path) -> None:
    made = await token(installation)
    ended = await installation.writ("agent", "enrol", "--to", str(tmp_path), stdin=made.encode())
    assert ended.status == 0, ended
    lines = (tmp_path / f"agent-{ELSEWHERE}.env").read_text().splitlines()
    assert f"WRIT_TLS_CA={server_tls.pinned_ca(installation.home)}" in lines
    assert f"NATS_URL={installation.url}" in lines


async def test_an_enrolment_is_not_intercepted(installation: RunningInstallation, tmp_path: Path) -> None:
    """An attacker on the path has a certificate for the same address, by another CA."""
    made, now = await token(installation), datetime.now(UTC)
    pair = issue(make_authority(installation.home.installation, now), ["127.0.0.1"], now)
    files = TlsFiles(certificate=str(tmp_path / "c.pem"), key=str(tmp_path / "c.key"))
    Path(files.certificate).write_bytes(pair.public)
    Path(files.key).write_bytes(pair.private)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(files.certificate, files.key)
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"nonce":"abc","tls_required":true}\r\n'
        )
        await writer.start_tls(theirs)
        heard.extend(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as rogue:
        port = rogue.sockets[0].getsockname()[1]
        ended = await installation.writ(
            "agent", "enrol", "--to", str(tmp_path), stdin=rewritten(made, installation.url, f"tls://127.0.0.1:{port}")
        )
    assert ended.status != 0
    assert "not signed by a CA that is trusted here" in ended.err
    assert not heard


def rewritten(token: str, url: str, other: str) -> bytes:
    """The network leads the host elsewhere: here by the address in its token."""
    head, _, text = token.rpartition(".")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).replace(url.encode(), other.encode())
    return f"{head}.{base64.urlsafe_b64encode(data).decode().rstrip('=')}".encode()


@pytest.mark.exhaustive
async def test_a_renewed_certificate_is_shown_and_no_operation_fails(installation: RunningInstallation) -> None:
    home = installation.home
    context = tls_context(TlsOptions(ca=str(home.ca_file)))
    before = await shown(installation, context)
    async with await installation.client() as writ:
        busy = asyncio.create_task(outcomes(writ, stop := asyncio.Event()))
        server_tls.write_settings(home, "required", [*server_tls.LOCAL_NAMES, "renewed.example.org"])
        await eventually(lambda: other_than(installation, context, before), what="another certificate")
        stop.set()
        assert set(await busy) == {"succeeded"}


async def other_than(installation: RunningInstallation, context: ssl.SSLContext, before: bytes) -> bool:
    return await shown(installation, context) != before


async def outcomes(writ: Writ, stop: asyncio.Event) -> list[str | None]:
    """Run operations until `stop`."""
    found = []
    while not stop.is_set():
        found.append((await writ.run("test_noop", "web-1")).outcome)
    return found


@pytest.mark.exhaustive
async def test_a_client_of_the_former_ca_is_served_until_the_rotation_is_finished(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    former = await context_of(installation, tmp_path)
    old = tls_context(TlsOptions(ca=server_tls.pinned_ca(installation.home)))
    before = await shown(installation, old)
    assert (await installation.writ("tls", "rotate-ca")).status == 0
    await eventually(lambda: other_than(installation, old, before), what="a certificate of the new CA")
    async with await Writ.from_context(former) as writ:
        assert (await writ.run("test_noop", "web-1")).outcome == "succeeded"
    assert (await installation.writ("tls", "rotate-ca", "--finish")).status == 0
    await eventually(lambda: is_refused(installation, old), what="a refusal of the former CA")
    async with await installation.client() as writ:
        assert (await writ.run("test_noop", "web-1")).outcome == "succeeded"


async def is_refused(installation: RunningInstallation, context: ssl.SSLContext) -> bool:
    try:
        await shown(installation, context)
    except ssl.SSLCertVerificationError:
        return True
    return False


@pytest.mark.exhaustive
async def test_gateway_of_this_machine_trusts_the_ca_of_the_installation(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    words = ("principal", "add", "bot", "--kind", "agent", "--via", "gateway", "--acts-for", "operator")
    added = await installation.writ(*words)
    assert added.status == 0, added
    async with http_gateway(installation, tmp_path) as (_, url):
        assert url.startswith("http://127.0.0.1:")
