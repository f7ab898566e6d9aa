"""A signed decision asked for over NATS, from a policy service in its own process, beside a bare request.

Bar: p50 at most twice that of the bare request of the same run.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from bench.peers import bare_server, measure_peers
from bench.timing import Sample, measure
from writ_bus.port import Bus
from writ_client.house.nats import free_port
from writ_contracts import subjects
from writ_contracts.decisions import Decide, Decided, Subject
from writ_contracts.ids import operation_id
from writ_contracts.wire import decode, encode
from writ_runtime import yamlfile
from writ_testing.nats_server import WritServer, writ_server

COUNT = 3_000


async def over_nats() -> dict[str, Sample]:
    """Both, one request at a time."""
    with tempfile.TemporaryDirectory() as folder:
        async with writ_server(Path(folder)) as server, bare_server(free_port()) as url:
            process = await _service(Path(folder), server)
            try:
                bus = await server.bus("executor")
                data = encode(Decide(subject=_subject(server), control_sequence=0))
                await _warm(bus, data)
                return {
                    "bare NATS request": (await measure_peers(url, 1, COUNT))["bare NATS request"],
                    "decision over NATS": await measure(lambda _: ask(bus, data), 1, COUNT),
                }
            finally:
                process.terminate()
                await process.wait()


async def ask(bus: Bus, data: bytes) -> Decided:
    """One decision. Raises RuntimeError if it is none."""
    decided = decode((await bus.request(subjects.POLICY_DECIDE, data, timeout=10)).data, Decided)
    if decided.decision is None:
        raise RuntimeError(str(decided.error))
    return decided


async def _warm(bus: Bus, data: bytes) -> None:
    for _ in range(200):
        await ask(bus, data)


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


async def _service(folder: Path, server: WritServer) -> asyncio.subprocess.Process:
    rule = {"operations": ["service_restart"], "allowed": True, "user_roles": ["operator"]}
    limits = {"service_name": {"type": "string", "max_length": 64, "pattern": "^[a-z]+$"}}
    rules = [{"name": f"rule-{number}", **rule, "parameter_constraints": limits} for number in range(5)]
    alice = {"id": "alice", "kind": "human", "roles": ["operator"], "key": server.keys["alice"].public}
    files: dict[str, object] = {
        "policy": {"policies": {"name": "bench", "global_policies": rules}},
        "inventory": {"targets": [{"id": "web-1", "role": "production", "backend": "local"}]},
        "principals": {"principals": [alice]},
        "agents": {"agents": []},
    }
    for name, data in files.items():
        (folder / f"{name}.yaml").write_text(yamlfile.dump(data))
    seed = folder / "policy.seed"
    seed.write_bytes(server.keys["policy"].seed)
    seed.chmod(0o600)
    environ = {
        "NATS_URL": server.url,
        "WRIT_KEY_FILE": str(seed),
        "SYSTEMMANAGER_POLICY_CONFIG": str(folder / "policy.yaml"),
        **{f"WRIT_{name.upper()}": str(folder / f"{name}.yaml") for name in ("inventory", "principals", "agents")},
        "WRIT_LOG_LEVEL": "warning",
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "writ_policy", env={**os.environ, **environ})
