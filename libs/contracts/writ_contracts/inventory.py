"""Targets, principals and agents, as inventory.yaml, principals.yaml and agents.yaml declare them (docs/inventory.md).

Undeclared targets, principals, pools and keys are refused and never get a default. These structs define an entry;
`writ_documents.readers` reads the files.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from writ_contracts.backends import default_pool
from writ_contracts.ids import (
    LINE_PATTERN,
    PATH_PATTERN,
    WRIT_TARGET,
    Digest,
    PoolId,
    PrincipalId,
    PublicKey,
    TargetId,
)

Role = Literal["gateway", "production", "development", "staging", "testing", "maintenance"]
Kind = Literal["human", "agent", "service"]
"""The kinds of requesters, which rules of the policy name."""
GATEWAY = "gateway"
"""The kind of an MCP gateway: it requests for the principals whose `via` names it, and nothing for itself."""
Attribute = str | int | float | bool
Name = Annotated[str, Meta(min_length=1, max_length=255)]


SCANNER = "scanner"
"""The role of a principal of kind service that may report on `writ.scan.<its id>`."""


class FileRoot(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A folder below which the file operations may work; system folders need `allow_system_root`."""

    path: Annotated[str, Meta(pattern=r"^/", max_length=4096)]
    allow_system_root: bool = False


class BackupRepository(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `backup` of a target: a restic repository, the file on the target with its password, and the target's host
    name there (by default its own).
    """

    repository: Annotated[str, Meta(pattern=LINE_PATTERN, min_length=1, max_length=4096)]
    password_file: Annotated[str, Meta(pattern=PATH_PATTERN, max_length=4096)]
    host: Annotated[str, Meta(pattern=LINE_PATTERN, max_length=255)] = ""


class Target(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing on which operations act, with all its features."""

    id: TargetId
    role: Role
    backend: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}(?!\n)$")]
    agent: PoolId | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    gateway: TargetId | None = None
    tags: list[Name] = field(default_factory=list)
    connection: dict[str, Any] = field(default_factory=dict)
    capabilities: list[Name] | None = None
    file_roots: list[str | FileRoot] = field(default_factory=list)
    stack_dir: str | None = None
    backup: dict[str, Any] = field(default_factory=dict)
    scan_networks: list[str] = field(default_factory=list)
    mount_roots: list[str] = field(default_factory=list)
    docker: dict[str, Any] | None = None
    """A container engine on the host: `socket`, `connect_timeout`, `reply_timeout`, `backup`; `{}`: usual socket."""

    @property
    def pool(self) -> str:
        """Its pool: as declared, else the backend's name, for a local target `local-<host>`."""
        if self.agent is not None:
            return self.agent
        return default_pool(self.backend, str(self.connection.get("host", self.id)))

    def roots(self) -> list[FileRoot]:
        """`file_roots` with the short form (a bare path) expanded."""
        return [FileRoot(path=root) if isinstance(root, str) else root for root in self.file_roots]


class Principal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A requester, identified by one key; an AI agent also names the human it acts for. Or a gateway (`GATEWAY`)."""

    id: PrincipalId
    kind: Literal["human", "agent", "service", "gateway"]
    key: PublicKey
    roles: list[Name] = field(default_factory=list)
    acts_for: PrincipalId | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)
    person: PrincipalId | None = None
    """Of a human with several principals: which person this is (`writ_contracts.people.persons`). By default the id."""
    via: PrincipalId | None = None
    """The gateway whose key may send this principal's requests as well, unsigned. Never of a human."""
    disabled: bool = False
    """It has no access, nor have the agents that act for it; what names it stays valid."""
    revision: Annotated[int, Meta(ge=0)] = 0
    """A higher one makes this entry count again after an operation changed it (`people/principal_changes.py`)."""


class AgentKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key which may claim for a pool; with a `host`, from that host alone."""

    pool: PoolId
    key: PublicKey
    host: Digest | None = None


class Inventory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of inventory.yaml."""

    targets: list[Target]


class Principals(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of principals.yaml."""

    principals: list[Principal]


class Agents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of agents.yaml."""

    agents: list[AgentKey]


WRIT = Target(id=WRIT_TARGET, role="gateway", backend="writ")
"""Writ itself, the target of the control operations; always in the inventory."""
