"""An operation of this backend as data: its functions, and the rights it needs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from writ_agent.backends.port import ProbeResult
from writ_agent_proxmox.tasks.work import GuestWork

Run = Callable[[GuestWork], Awaitable[dict[str, Any]]]
Probe = Callable[[GuestWork, Mapping[str, Any]], Awaitable[ProbeResult]]


class Actions(Struct, frozen=True, kw_only=True):
    """`run` returns the output. `rights`: privileges needed by the token, each on a guest, node or storage."""

    run: Run
    preview: Run | None = None
    baseline: Run | None = None
    probe: Probe | None = None
    rights: tuple[str, ...]
