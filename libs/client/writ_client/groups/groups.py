"""All groups of operations as attributes of `Writ`. Made from the catalogue by `make docs`."""

from functools import cached_property
from typing import TYPE_CHECKING

from writ_client.groups.backups import Backups
from writ_client.groups.containers import Containers
from writ_client.groups.files import Files
from writ_client.groups.guests import Guests
from writ_client.groups.images import Images
from writ_client.groups.network import Network
from writ_client.groups.nodes import Nodes
from writ_client.groups.packages import Packages
from writ_client.groups.services import Services
from writ_client.groups.snapshots import Snapshots
from writ_client.groups.stacks import Stacks
from writ_client.groups.storages import Storages
from writ_client.groups.tasks import Tasks

if TYPE_CHECKING:
    from writ_client.groups.group import OperationRunner


class OperationGroups:
    """A mixin for a client which runs operations."""

    @cached_property
    def services(self: "OperationRunner") -> Services:
        """System services."""
        return Services(self)

    @cached_property
    def containers(self: "OperationRunner") -> Containers:
        """Containers, and guests of Proxmox."""
        return Containers(self)

    @cached_property
    def images(self: "OperationRunner") -> Images:
        """Images of Docker engines."""
        return Images(self)

    @cached_property
    def stacks(self: "OperationRunner") -> Stacks:
        """Compose stacks."""
        return Stacks(self)

    @cached_property
    def backups(self: "OperationRunner") -> Backups:
        """Backups."""
        return Backups(self)

    @cached_property
    def snapshots(self: "OperationRunner") -> Snapshots:
        """Snapshots."""
        return Snapshots(self)

    @cached_property
    def files(self: "OperationRunner") -> Files:
        """Files."""
        return Files(self)

    @cached_property
    def network(self: "OperationRunner") -> Network:
        """The network, as a target sees it."""
        return Network(self)

    @cached_property
    def packages(self: "OperationRunner") -> Packages:
        """System packages."""
        return Packages(self)

    @cached_property
    def guests(self: "OperationRunner") -> Guests:
        """Guests of Proxmox VE."""
        return Guests(self)

    @cached_property
    def nodes(self: "OperationRunner") -> Nodes:
        """Nodes of Proxmox VE."""
        return Nodes(self)

    @cached_property
    def storages(self: "OperationRunner") -> Storages:
        """Storages of Proxmox VE."""
        return Storages(self)

    @cached_property
    def tasks(self: "OperationRunner") -> Tasks:
        """Tasks of Proxmox VE."""
        return Tasks(self)
