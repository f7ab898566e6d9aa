"""The server accepts the rendered configuration, and reloads it while all clients work."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from writ_bus.errors import BusRefused, TimedOut, Unreachable
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.tls import TlsOptions
from writ_nats_server.config import TlsFiles, parties, render
from writ_nats_server.leaf import LeafListener
from writ_nats_server.process import check_config
from writ_nats_server.streams import provision
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import WritServer, free_port, transport_info, writ_server
from writ_testing.peers.programs import program
from writ_testing.suites.bus_fixture import ASK, REQUESTS, SOON, echo, everybody, service
from writ_testing.suites.work import STREAM, dispatch
from writ_trust.keys import Key, generate_seed


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WritServer]:
    async with writ_server(tmp_path) as server:
        yield server


async def test_server_accepts_the_configuration_with_any_number_of_parties(tmp_path: Path) -> None:
    principals = [f"someone_{number}-x" for number in range(40)]
    server = WritServer(tmp_path, principals, ["local-web_1", "ssh", "docker"])
    server.config.write_text(render(server.plan))
    await check_config(server.config)


async def test_invalid_file_is_refused_with_the_servers_message(tmp_path: Path) -> None:
    config = tmp_path / "wrong.conf"
    config.write_text("port: four\n")
    with pytest.raises(BusRefused, match=r"wrong\.conf"):
        await check_config(config)


def test_configuration_has_the_settings_that_keep_the_record_safe(tmp_path: Path) -> None:
    text = render(WritServer(tmp_path, ["alice"], ["a"]).plan)
    assert '"sync_interval": "always"' in text
    assert 'host: "127.0.0.1"' in text
    assert 'http: "127.0.0.1:' in text
    assert "max_payload: 2097152" in text


def test_server_names_the_key_of_every_requester(tmp_path: Path) -> None:
    text = render(WritServer(tmp_path, ["alice"], ["a"]).plan)
    accounts = json.loads(text.partition("\naccounts: ")[2].partition("\nsystem_account: ")[0])
    requested = [one for one in accounts["REQ_alice"]["imports"] if "service" in one]
    assert requested
    assert all(one["share"] for one in requested)
    shared = [one["service"]["subject"] for one in accounts["AGENT_a"]["imports"] if "share" in one]
    assert shared == ["writ.heartbeat.a"]  # all else from an agent is signed


def test_exports_with_several_replies_are_pulls_and_batches_alone(tmp_path: Path) -> None:
    """For each such request nats-server keeps 2.5 KB until no reply has come for two minutes, or for the threshold."""
    text = render(WritServer(tmp_path, ["alice"], ["a"]).plan)
    accounts = json.loads(text.partition("\naccounts: ")[2].partition("\nsystem_account: ")[0])
    many = [one for one in accounts["CORE"]["exports"] if one.get("response_type") == "stream"]
    batches = [one for one in many if ".DIRECT.GET." in one["service"]]
    assert {one["service"].count(".") for one in batches} == {4}  # $JS.API.DIRECT.GET.<stream>, no subject
    assert {one["threshold"] for one in batches} == {"5s"}
    assert all(
        ".CONSUMER.MSG.NEXT." in one["service"] or "$JS.ACK." in one["service"] for one in many if one not in batches
    )


def test_configuration_has_no_seed(tmp_path: Path) -> None:
    server = WritServer(tmp_path, ["alice"], ["a"])
    text = render(server.plan)
    assert all(key.public in text for key in server.keys.values())
    assert not any(key.seed.decode() in text for key in server.keys.values())


def test_account_has_one_party(tmp_path: Path) -> None:
    plan = WritServer(tmp_path, ["alice", "bob"], ["a", "b"]).plan
    accounts = [party.account for party in parties(plan)]
    assert len(accounts) == len(set(accounts)) == 4 + 2 + 2


async def keep_asking(bus: NatsBus, subject: str, stop: asyncio.Event) -> int:
    """Count the requests with a reply. A reload may lose the reply to one in flight; it must refuse none."""

    async def answered() -> bool:
        try:
            await bus.request(subject, b"", timeout=0.5)
        except TimedOut:
            return False
        return True

    count = 0
    while not stop.is_set():
        await eventually(answered)  # each of the reloads may lose one
        count += 1
    return count


async def test_principals_are_added_while_all_clients_work(server: WritServer) -> None:
    executor, policy, audit, alice = [await server.bus(name) for name in ("executor", "policy", "audit", "alice")]
    await executor.serve(service("executor", REQUESTS, echo))
    await policy.serve(service("policy", "writ.policy.decide", echo))
    await audit.serve(service("audit", "writ.query.*.trace", echo))
    stop = asyncio.Event()
    busy = [
        asyncio.create_task(keep_asking(alice, ASK, stop)),
        asyncio.create_task(keep_asking(alice, "writ.query.alice.trace", stop)),
        asyncio.create_task(keep_asking(executor, "writ.policy.decide", stop)),
    ]
    lost: list[str] = []
    for bus in (executor, policy, audit, alice):
        bus.connection.on_lost.append(lambda bus=bus: lost.append(bus.connection.options.name))  # type: ignore[misc]
    for name in ("carol", "dave"):
        await server.add_principal(name)
        newcomer = await server.bus(name)
        assert (await newcomer.request(f"writ.request.{name}.x", b"new", timeout=SOON)).data == b"new"
        assert (await newcomer.request(f"writ.query.{name}.trace", b"new", timeout=SOON)).data == b"new"
    stop.set()
    assert all(count > 0 for count in await asyncio.gather(*busy))
    assert lost == []


async def test_services_that_restart_after_a_reload_are_found_by_all(server: WritServer) -> None:
    first = await server.bus("executor")
    await first.serve(service("executor", REQUESTS, echo))
    await server.add_principal("carol")
    await first.close()
    second = await server.bus("executor")
    await second.serve(service("executor", REQUESTS, echo))
    for name in ("alice", "bob", "carol"):
        bus = await server.bus(name)
        assert (await bus.request(f"writ.request.{name}.x", b"still", timeout=SOON)).data == b"still"


async def test_new_principal_receives_its_events(server: WritServer) -> None:
    executor = await server.bus("executor")
    await server.add_principal("carol")
    carol = await server.bus("carol")
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: object) -> None:
        heard.put_nowait(message.subject)  # type: ignore[attr-defined]

    await carol.subscribe("writ.event.op.carol.>", hear)
    await executor.publish("writ.event.op.alice.o1.progress", b"")
    await executor.publish("writ.event.op.carol.o1.progress", b"")
    async with asyncio.timeout(SOON):
        assert await heard.get() == "writ.event.op.carol.o1.progress"


async def test_pool_is_added_while_the_server_runs(server: WritServer) -> None:
    executor = await server.bus("executor")
    await server.add_pool("new")
    async with server.connected("bootstrap") as bootstrap:
        await provision(bootstrap, server.plan.pools)
    done: asyncio.Queue[int] = asyncio.Queue()

    async def work(delivery: object) -> None:
        await delivery.ack()  # type: ignore[attr-defined]
        done.put_nowait(delivery.sequence)  # type: ignore[attr-defined]

    agent = await server.bus("agent-new")
    await agent.pull("agent-new", STREAM, work, slots=1)
    await agent.serve(service("agent-new", "writ.agent.new.look", echo))
    sent = await dispatch(executor, pool="new")
    async with asyncio.timeout(SOON):
        assert await done.get() == sent
    assert (await executor.request("writ.agent.new.look", b"look", timeout=SOON)).data == b"look"


async def test_status_finds_every_service_and_agent(server: WritServer) -> None:
    subjects = {
        "executor": REQUESTS,
        "policy": "writ.policy.decide",
        "audit": "writ.query.*.trace",
        "agent-a": "writ.agent.a.look",
        "agent-b": "writ.agent.b.look",
    }
    for name, subject in subjects.items():
        await (await server.bus(name)).serve(service(name, subject, echo))
    status = await server.bus("status")
    pongs = await everybody(status, "$SRV.PING", len(subjects))
    assert sorted(json.loads(pong.data)["name"] for pong in pongs) == sorted(subjects)
    assert (await status.journal.usage()).messages == 0


def openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run([program("openssl"), *arguments], cwd=cwd, check=True, capture_output=True, timeout=30)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """Make a CA, and certificates of it for the server and a client."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 is strict about RFC 5280
    openssl("req", "-x509", *curve, *usage, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", cwd=tmp_path)
    (tmp_path / "ext").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for name in ("server", "client"):
        openssl(
            "req", *curve[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=tmp_path
        )
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem", cwd=tmp_path)
    return tmp_path


async def test_server_with_tls_accepts_only_clients_that_verify_it(certificates: Path) -> None:
    def path(name: str) -> str:
        return str(certificates / name)

    server = WritServer(certificates, ["alice"], [])
    files = TlsFiles(ca=path("ca.pem"), certificate=path("server.pem"), key=path("server.key"))
    server.plan = replace(server.plan, tls=files)
    await server.start()
    try:
        mine = TlsOptions(ca=path("ca.pem"), certificate=path("client.pem"), key=path("client.key"))
        bus = await server.bus("alice", tls=mine)
        cipher = transport_info(bus, "cipher")
        assert cipher[1] == "TLSv1.3"
        with pytest.raises(Unreachable):
            await connect(server.options("alice", tls=TlsOptions(ca=path("ca.pem")), wait=1.0))
        with pytest.raises(Unreachable):
            await connect(server.options("alice", wait=1.0))
    finally:
        await server.stop()


async def test_link_users_connect_as_leaf_nodes_alone(tmp_path: Path) -> None:
    made = WritServer(tmp_path, ["alice"], ["a", "b"])
    key = Key(generate_seed()).public
    plan = replace(made.plan, leaf=LeafListener(host="127.0.0.1", port=free_port()), links={"a": [key]})
    made.config.write_text(render(plan))
    await check_config(made.config)
    text = made.config.read_text()
    accounts = json.loads(text.partition("\naccounts: ")[2].partition("\nsystem_account: ")[0])
    links = {
        (name, user["nkey"])
        for name, block in accounts.items()
        for user in block["users"]
        if "LEAFNODE" in user["allowed_connection_types"]
    }
    assert links == {("AGENT_a", key)}
    assert "allowed_connection_types" not in render(made.plan)
