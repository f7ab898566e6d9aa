"""All operations of this backend."""

from collections.abc import Mapping
from types import MappingProxyType

from writ_agent_proxmox.operations import backups, creation, movement, nodes, power, snapshots
from writ_agent_proxmox.operations.actions import Actions

OPERATIONS: Mapping[str, Actions] = MappingProxyType(
    {
        **power.ACTIONS,
        **creation.ACTIONS,
        **snapshots.ACTIONS,
        **backups.ACTIONS,
        **movement.ACTIONS,
        **nodes.ACTIONS,
    }
)
