"""An installation whose principal alice manages principals and sessions, by operations."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from writ_testing.installations.installation import RunningInstallation, open_policy, prepare, running_installation

GOVERN: dict[str, Any] = {
    "name": "govern",
    "operations": ["principal_manage", "session_end"],
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
    """Run it with these people, alice among them, until the block ends. `more_policy`: further lines of its file."""
    policy = open_policy(GOVERN) + more_policy
    home = prepare(folder, targets=targets, policy=policy, principals=list(people.items()))
    async with running_installation(folder, home=home) as running:
        yield running
