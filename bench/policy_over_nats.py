"""Measure a signed decision over NATS, by a policy service in its own process, beside a bare request.

Bar: p50 at most twice that of the bare request of the same run.
"""

import tempfile
from pathlib import Path

from bench.bare_nats import bare_server, measure_peers
from bench.policy_service import ask, policy_service, question
from bench.timing import Sample, measure
from writ_bus.port import Bus
from writ_contracts.decisions import Subject
from writ_contracts.ids import operation_id
from writ_documents import yaml_file
from writ_installation.nats.server import free_port
from writ_testing.peers.nats_server import WritServer, writ_server

COUNT = 3_000
TARGET = {"id": "web-1", "role": "production", "backend": "local", "docker": {}}


async def over_nats() -> dict[str, Sample]:
    """Measure both, one request at a time."""
    with tempfile.TemporaryDirectory() as folder:
        async with writ_server(Path(folder)) as server, bare_server(free_port()) as url:
            alice = {"id": "alice", "kind": "human", "roles": ["operator"], "key": server.keys["alice"].public}
            async with policy_service(Path(folder), server, _policy(), targets=[TARGET], principals=[alice]):
                bus = await server.bus("executor")
                data = question(_subject(server))
                await _warm(bus, data)
                return {
                    "bare NATS request": (await measure_peers(url, 1, COUNT))["bare NATS request"],
                    "decision over NATS": await measure(lambda _: ask(bus, data), 1, COUNT),
                }


async def _warm(bus: Bus, data: bytes) -> None:
    for _ in range(200):
        await ask(bus, data)


def _policy() -> str:
    rule = {"operations": ["service_restart"], "allowed": True, "user_roles": ["operator"]}
    limits = {"service_name": {"type": "string", "max_length": 64, "pattern": "^[a-z]+$"}}
    rules = [{"name": f"rule-{number}", **rule, "parameter_constraints": limits} for number in range(5)]
    return yaml_file.dump({"policies": {"name": "bench", "global_policies": rules}})


def _subject(server: WritServer) -> Subject:
    return Subject(
        operation_id=operation_id("alice", "bench"),
        principal="alice",
        key=server.keys["alice"].public,
        operation="service_restart",
        target="web-1",
        parameters={"service_name": "nginx"},
        parameters_key="ab" * 32,
    )
