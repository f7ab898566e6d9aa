"""`python -m tests.agent_proxmox.killed_agent`: one operation by the backend, in a process for a test to kill.

Standard input has the operation as JSON.
"""

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct
from tests.agent_proxmox.cluster import CATALOGUE

from writ_agent_proxmox.backend import ProxmoxBackend
from writ_agent_proxmox.connection.api import Apis
from writ_agent_proxmox.connection.credentials import ProxmoxTokens
from writ_agent_proxmox.tasks.task_notes import Notes
from writ_contracts.inventory import Target
from writ_testing.suites.backend import ProgressRecorder, task


class OneOperation(Struct, frozen=True, kw_only=True):
    tokens: str
    notes: str
    operation: str
    operation_id: str
    target: Target
    parameters: dict[str, object]


async def main(one: OneOperation) -> None:
    backend = ProxmoxBackend(Apis(ProxmoxTokens(Path(one.tokens))), Notes(Path(one.notes)))
    await backend.run(
        task(CATALOGUE[one.operation], one.target, one.operation_id, **one.parameters), ProgressRecorder()
    )


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.stdin.buffer.read(), type=OneOperation)))
