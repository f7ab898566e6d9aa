"""An installation whose principal alice manages principals and sessions by operations, and reads the record."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

GOVERN: dict[str, Any] = {
    "name": "govern",
    "operations": ["principal_manage", "session_end", "audit_read"],
    "users": ["alice"],
    "allowed": True,
    "inherit": False,
}


@asynccontextmanager
async def governed(
    folder: Path,
    people: Mapping[str, dict[str, Any]],
    targets: Sequence[Mapping[str, Any]] | None = None,
    more_policy: str = "",
) -> AsyncIterator[RunningInstallation]:
    """Run an installation with alice and these people. `more_policy` adds lines to its policy."""
    policy = open_policy(GOVERN) + more_policy
    home = prepare(folder, targets=targets, policy=policy, principals=list(people.items()))
    async with running_installation(folder, home=home) as running:
        yield running
