"""An installation with three NATS servers: killed leaders, restarts under load, and closed routes."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.compose.composed import Composed, cloned
from tests.lab.compose.conftest import as_the_demo
from tests.lab.compose.load import Writes
from tests.lab.engine import Engine
from tests.lab.hosts import until

from writ_contracts.subjects import JOURNAL_STREAM

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(600),
    # nats-py lets go of a connection that ends before a server has spoken, as docker's open ports have it, unclosed.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SERVERS = ("nats", "nats-2", "nats-3")
STREAMS = """
import json, urllib.request
told = json.load(urllib.request.urlopen("http://127.0.0.1:8222/jsz?accounts=true&streams=true&config=true", timeout=5))
print(json.dumps([one for account in told.get("account_details", []) for one in account["stream_detail"]]))
"""
JOIN = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    route = context.wrap_socket(socket.create_connection(("nats-2", 6222), 5))
    print("let in, and told", route.recv(4096))
except ssl.SSLError as error:
    print(error.reason)
"""
"""A server without the certificate that tries to join the cluster."""


@pytest.fixture(scope="module")
def cluster(composed: Composed, docker: Engine) -> Iterator[Composed]:
    """Up beside the other installation, with its images."""
    with cloned(docker, "writ-cluster", offset=100) as made:
        try:
            made.type('docker compose run --rm --user "$(id -u):$(id -g)" init --servers 3')
            as_the_demo(made)
            made.up(policy=2, executor=2, agent_local=2, agent_ssh=0, prometheus=0, alertmanager=0)
            yield made
        finally:
            print(made.type("docker compose logs --no-color --tail 200"))
            made.down()


def streams(cluster: Composed, server: str) -> list[dict[str, Any]]:
    """Return the server's streams; none while it does not answer."""
    command = ["docker", "exec", container(cluster, server), "python", "-c", STREAMS]
    done = subprocess.run(command, env=cluster.engine.environ, capture_output=True, check=False, timeout=30)
    return list(json.loads(done.stdout)) if done.returncode == 0 else []


def container(cluster: Composed, server: str) -> str:
    return cluster.type(f"docker compose ps --all --quiet {server}").strip()


def leader(cluster: Composed) -> str:
    """Return the journal's leader, once each copy is complete."""

    def check() -> str | None:
        for server in SERVERS:
            for one in streams(cluster, server):
                copies = one["cluster"].get("replicas", [])
                if one["name"] == JOURNAL_STREAM and one["cluster"].get("leader") == server and len(copies) == 2:
                    return server if all(copy["current"] for copy in copies) else None
        return None

    return until(check, 60.0, "the journal has a leader and three whole copies")


async def test_operations_succeed_while_leaders_are_killed_and_servers_restarted(cluster: Composed) -> None:
    def kill(server: str) -> None:
        cluster.engine.docker("kill", "--signal", "KILL", container(cluster, server))

    def start(server: str) -> None:
        cluster.engine.docker("start", container(cluster, server))
        leader(cluster)

    def restart(server: str) -> None:
        cluster.restart(container(cluster, server))
        leader(cluster)

    async with await cluster.client() as writ:
        async with Writes(writ, cluster).going_on() as ran:
            for _ in range(2):
                server = leader(cluster)
                await ran.during(kill, server)
                await ran.during(start, server)
            for server in SERVERS:
                await ran.during(restart, server)
        await ran.check()


def test_every_stream_has_three_copies(cluster: Composed) -> None:
    found = streams(cluster, leader(cluster))
    assert len(found) == 5
    assert {one["config"]["num_replicas"] for one in found} == {3}


def test_nobody_without_the_certificate_is_a_server_among_them(cluster: Composed) -> None:
    (policy, *_) = cluster.containers("policy")
    told = cluster.engine.docker("exec", policy, "python", "-c", JOIN)
    assert told.strip() == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
