"""A policy service in a process of its own, with files made for a measurement."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.decisions import DecideReply, DecideRequest, Subject
from writ_contracts.wire import decode, encode
from writ_documents import yaml_file
from writ_installation.processes.child import tie
from writ_testing.peers.nats_server import INSTALLATION, WritServer

LISTS = ("inventory", "principals", "agents")


@asynccontextmanager
async def policy_service(
    folder: Path,
    server: WritServer,
    policy: str,
    *,
    targets: Sequence[Mapping[str, Any]],
    principals: Sequence[Mapping[str, Any]],
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the service within the block. The caller has to wait until it is ready."""
    (folder / "policy.yaml").write_text(policy)
    entries: dict[str, list[Any]] = {"targets": list(targets), "principals": list(principals), "agents": []}
    for name, (key, data) in zip(LISTS, entries.items(), strict=True):
        (folder / f"{name}.yaml").write_text(yaml_file.dump({key: data}))
    seed = folder / "policy.seed"
    seed.write_bytes(server.keys["policy"].seed)
    seed.chmod(0o600)
    environ = {
        "NATS_URL": server.url,
        "WRIT_KEY_FILE": str(seed),
        "SYSTEMMANAGER_POLICY_CONFIG": str(folder / "policy.yaml"),
        **{f"WRIT_{name.upper()}": str(folder / f"{name}.yaml") for name in LISTS},
        "WRIT_INSTALLATION": INSTALLATION,
        "WRIT_STATE_DIR": str(folder / "policy-state"),
        "SYSTEMMANAGER_POLICY_MODE": "permissive",
        "WRIT_LOG_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(
        *tie(), sys.executable, "-m", "writ_policy", env={**os.environ, **environ}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def question(subject: Subject) -> bytes:
    """Return the request of an executor."""
    return encode(DecideRequest(subject=subject, control_sequence=0))


async def ask(bus: Bus, data: bytes) -> DecideReply:
    """Request one decision. Raises RuntimeError if the reply is none."""
    decided = decode((await bus.request(subjects.POLICY_DECIDE, data, timeout=10)).data, DecideReply)
    if decided.decision is None:
        raise RuntimeError(str(decided.error))
    return decided
