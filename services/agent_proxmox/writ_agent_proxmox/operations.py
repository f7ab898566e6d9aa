"""All operations of this backend."""

from collections.abc import Mapping
from types import MappingProxyType

from writ_agent_proxmox import power
from writ_agent_proxmox.actions import Actions

OPERATIONS: Mapping[str, Actions] = MappingProxyType({**power.ACTIONS})
