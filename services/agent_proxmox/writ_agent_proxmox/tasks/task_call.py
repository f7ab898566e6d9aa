"""A call of Proxmox which starts a task."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


class TaskCall(Struct, frozen=True, kw_only=True):
    """A call which starts a task of `type` and `id` on a node. `last`: no other follows. `at_once`: Proxmox may carry
    it out without a task, and then replies with nothing.
    """

    method: str
    path: tuple[object, ...]
    node: str
    type: tuple[str, ...]
    id: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    last: bool = True
    at_once: bool = False
