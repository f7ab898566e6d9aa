"""The definition of an operation, and the catalogue: the closed set of operations of an installation.

One definition gives validation (client, executor and again the agent), schema, help text and policy's view of an
operation. The built-in ones are in `writ_contracts.catalogue`; plugins add theirs, and a duplicate name is an error.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from msgspec import Struct

from writ_contracts import parameters as params
from writ_contracts.backends import HOSTS, PROXMOX
from writ_contracts.errors import Invalid
from writ_contracts.evaluators import Evaluator
from writ_contracts.inventory import Target
from writ_contracts.nearest_name import LONGEST, near
from writ_contracts.plugins import InstalledPlugin, PluginDigests, digests_of

OPTIONS = frozenset(
    {
        "target_id",
        "operation_type",
        "parameters",
        "requested_by",
        "reason",
        "dry_run",
        "idempotency_key",
        "correlation_id",
        "wait",
        "on_event",
    }
)
"""Arguments of a request beside the operation's own parameters, in tools that take both by name."""
EXAMPLES = {"backup": "{repository: …, password_file: …}", "scan_networks": "[192.0.2.0/24]"}
"""Values of the keys that operations need (`Operation.declared`)."""


class Risk(StrEnum):
    """The possible damage of an operation; `admin` needs approval under `require_approval_for_admin`."""

    READ = "read"
    CHANGE = "change"
    ADMIN = "admin"


class Operation(Struct, frozen=True, kw_only=True):
    """One typed verb.

    `idempotent`: may run again after a crash. `baseline`: the agent records the target's state before it claims.
    `probe`: the agent can find out afterwards whether it took effect. `preview`: a dry run reads the host.
    `own_signature`: refused without the principal's own signature. `named`: the parameter with the name of a thing
    which may have several on a host; policy judges the operation by each of them. The baseline lists them as `names`;
    without one, the target's agents list them (`facts.OTHER_NAMES`). `ahead`: it only reads, costs its target little
    and has public parameters alone, so an agent may read while its claim is under way. `settled`: fields of the
    baseline which must not differ between an approved preview and the start. `quotes`: the operation which reads the
    content quoted by a diff in the preview. Without a permission for it, the diff has the new content alone.
    `quoted`: the parameters with the paths of that content, each of which the requester must be permitted to read. An
    optional one without a value has no content.
    `on_engine`: it needs a container engine, which a host has only if its entry declares one (`docker`).
    `declared`: the key of the target's entry that it needs.
    `by_digest`: parameters whose large texts policy may leave unread, if no rule constrains them. Policy checks a
    short stand-in in the place of the text, so they take any text.
    `all_without`: the parameter without which it acts on all things of its kind. An allow rule that constrains this
    parameter does not match a request without it, but its demand and limits hold for one that another rule allows.
    """

    name: str
    summary: str
    parameters: type[params.Parameters]
    output: type[params.Output]
    risk: Risk
    backends: tuple[str, ...]
    idempotent: bool = False
    baseline: bool = False
    probe: bool = False
    preview: bool = False
    control: bool = False
    own_signature: bool = False
    named: str = ""
    ahead: bool = False
    settled: tuple[str, ...] = ()
    quotes: str = ""
    quoted: tuple[str, ...] = ()
    on_engine: bool = False
    declared: Literal["", "backup", "scan_networks"] = ""
    all_without: str = ""
    by_digest: tuple[str, ...] = ()

    @property
    def read_only(self) -> bool:
        """Return whether it changes nothing, and so needs no lock on its target."""
        return self.risk is Risk.READ

    @property
    def default_timeout(self) -> int:
        """The timeout in seconds, when the caller gives none."""
        return int(params.defaults(self.parameters)["timeout"])

    def check(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the effective parameters; raises Invalid (`invalid_parameters`) naming operation and fields."""
        try:
            return params.check(self.parameters, values)
        except Invalid as error:
            message = str(error)
            colon = "" if message.startswith("needs ") else ":"
            raise Invalid(f"{self.name}{colon} {message}", code=error.code) from error

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema 2020-12 of the parameters."""
        return msgspec.json.schema(self.parameters)


class Catalogue(Mapping[str, Operation]):
    """Operations by name; read-only. `evaluators`: conditions for policies, by name. `plugins`: those of this
    process.
    """

    def __init__(
        self,
        operations: Iterable[Operation],
        evaluators: Mapping[str, Evaluator] | None = None,
        plugins: Iterable[InstalledPlugin] = (),
    ) -> None:
        self.plugins = tuple(plugins)
        self._by_name: dict[str, Operation] = {}
        self._concerned: dict[tuple[str, str], PluginDigests] = {}
        """By operation and backend: the result of `plugins_of`, which each decision and each claim needs."""
        self.evaluators: Mapping[str, Evaluator] = MappingProxyType(dict(evaluators or {}))
        for operation in operations:
            if operation.name in self._by_name:
                raise Invalid(f"operation {operation.name} is defined twice", code="invalid")
            if operation.ahead and not _may_be_read_ahead(operation):
                raise Invalid(
                    f"operation {operation.name} cannot be read ahead: that needs risk read, no baseline "
                    "and only public parameters",
                    code="invalid",
                )
            if bool(operation.quotes) != bool(operation.quoted) or not _has_parameters(operation, operation.quoted):
                raise Invalid(
                    f"operation {operation.name} needs `quoted` beside `quotes`: its parameters with the paths of the"
                    " content that its diff quotes",
                    code="invalid",
                )
            self._by_name[operation.name] = operation

    def __getitem__(self, name: str) -> Operation:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str) -> Operation:
        """Return the operation with this name; raises Invalid (`unknown_operation`)."""
        try:
            return self._by_name[name]
        except KeyError:
            hint = near(name, self)
            raise Invalid(f"no operation {name[:LONGEST]!r} in the catalogue{hint}", code="unknown_operation") from None

    def plugins_of(self, operation: str, backend: str) -> PluginDigests:
        """Return the digests of the plugins which define the operation, or carry out operations on this backend."""
        known = self._concerned.get((operation, backend))
        if known is None:
            known = digests_of(one for one in self.plugins if one.concerns(operation, backend))
            if operation in self._by_name:
                self._concerned[operation, backend] = known
        return known


def offers(capabilities: list[str] | None, backend: str, operation: Operation) -> bool:
    """Return whether a target of this backend with these declared capabilities has this operation at all.

    A capability is an operation's name or a prefix ending in `*`; None means all operations of the backend.
    """
    if backend not in operation.backends:
        return False
    return capabilities is None or any(_covers(item, operation.name) for item in capabilities)


def has_operation(target: Target, operation: Operation) -> bool:
    """Return whether the target, as declared, has this operation at all."""
    return offers(target.capabilities, target.backend, operation) and not _lacks_engine(target, operation)


def not_offered(target: Target, operation: Operation) -> Invalid:
    """Return the error (`unsupported`) about an operation that the target does not have."""
    text = f"{target.id} ({target.backend}) does not offer {operation.name}"
    if offers(target.capabilities, target.backend, operation) and _lacks_engine(target, operation):
        text += ": its entry declares no container engine; add `docker: {}` to it in the inventory"
    return Invalid(text, code="unsupported")


def check_declared(target: Target, operation: Operation) -> None:
    """Raise Invalid (`not_declared`) if the target's entry lacks the key that the operation needs.

    Agents check it too. Here the requester learns of it before the operation is on its way.
    """
    declared = {
        "": True,
        "backup": target.backup or (target.docker or {}).get("backup"),
        "scan_networks": target.scan_networks,
    }
    if not declared[operation.declared]:
        example = "{storage: …}" if target.backend == PROXMOX else EXAMPLES[operation.declared]
        raise Invalid(
            f"{target.id} has no {operation.name}: its entry declares no `{operation.declared}`; add "
            f"`{operation.declared}: {example}` to it in the inventory",
            code="not_declared",
        )


def _lacks_engine(target: Target, operation: Operation) -> bool:
    return operation.on_engine and target.backend in HOSTS and target.docker is None


def _has_parameters(operation: Operation, names: Iterable[str]) -> bool:
    return {*names} <= {*operation.parameters.__struct_fields__}


def _may_be_read_ahead(operation: Operation) -> bool:
    known = params.classes(operation.parameters).values()
    return operation.read_only and not operation.baseline and all(each is params.Class.PUBLIC for each in known)


def _covers(capability: str, name: str) -> bool:
    return name.startswith(capability[:-1]) if capability.endswith("*") else name == capability
