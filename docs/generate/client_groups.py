"""libs/client/writ_client/groups: a typed method for each operation of the catalogue, made from its parameters."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType

import msgspec
from msgspec import Struct
from msgspec import inspect as types

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.operations import Operation

FOLDER = "libs/client/writ_client/groups"
LEADING = ("Mapping", "Sequence")
MANY_WORDS, LONG = 14, "# long: the operation has as many parameters"
"""A method with more of them is longer than a screen; the comment says why that is right (tests/architecture)."""


class Group(Struct, frozen=True, kw_only=True):
    """The operations whose names begin with a prefix; `title` describes them."""

    module: str
    title: str

    @property
    def class_name(self) -> str:
        """Return the name of the group's class."""
        return self.module.capitalize()


GROUPS: Mapping[str, Group] = MappingProxyType(
    {
        "service": Group(module="services", title="System services"),
        "container": Group(module="containers", title="Containers, and guests of Proxmox"),
        "image": Group(module="images", title="Images of Docker engines"),
        "stack": Group(module="stacks", title="Compose stacks"),
        "backup": Group(module="backups", title="Backups"),
        "snapshot": Group(module="snapshots", title="Snapshots"),
        "file": Group(module="files", title="Files"),
        "network": Group(module="network", title="The network, as a target sees it"),
        "package": Group(module="packages", title="System packages"),
        "guest": Group(module="guests", title="Guests of Proxmox VE"),
        "node": Group(module="nodes", title="Nodes of Proxmox VE"),
        "storage": Group(module="storages", title="Storages of Proxmox VE"),
        "task": Group(module="tasks", title="Tasks of Proxmox VE"),
    }
)
"""By the first word of an operation's name. An operation with a new word needs its group here."""


def documents() -> dict[str, Callable[[], str]]:
    """Return the modules of all groups, by path. Raises LookupError for an operation without a group."""
    by_prefix: dict[str, list[Operation]] = {prefix: [] for prefix in GROUPS}
    for operation in BUILT_IN:
        prefix = operation.name.partition("_")[0]
        if operation.control:
            continue
        if prefix not in by_prefix:
            raise LookupError(f"{operation.name}: GROUPS of docs/generate/client_groups.py has no {prefix!r}")
        by_prefix[prefix].append(operation)
    made: dict[str, Callable[[], str]] = {
        f"{FOLDER}/{GROUPS[prefix].module}.py": partial(module, prefix, tuple(operations))
        for prefix, operations in by_prefix.items()
    }
    return {**made, f"{FOLDER}/groups.py": all_groups}


def module(prefix: str, operations: tuple[Operation, ...]) -> str:
    """Return the module of one group."""
    group = GROUPS[prefix]
    methods = "\n".join(_method(prefix, operation) for operation in operations)
    leading = [name for name in LEADING if f"{name}[" in methods]
    typing = ["Literal", "Unpack"] if "Literal[" in methods else ["Unpack"]
    about = group.title[:1].lower() + group.title[1:]
    return _formatted(f'''\
"""`writ.{group.module}`: operations on {about}. Made from the catalogue by `make docs`."""

{f"from collections.abc import {', '.join(leading)}" if leading else ""}
from typing import {", ".join(typing)}

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class {group.class_name}(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

{methods}''')


def _method(prefix: str, operation: Operation) -> str:
    """Return a method: what is required by position, the rest by name."""
    described = types.type_info(operation.parameters)
    assert isinstance(described, types.StructType)
    required = [(one.encode_name, type_text(one.type)) for one in described.fields if one.required]
    optional = [(one.encode_name, _or_none(type_text(one.type))) for one in described.fields if not one.required]
    words = ["self", "target: str", *(f"{name}: {text}" for name, text in required)]
    words += ["*", *(f"{name}: {text} = None" for name, text in optional)] if optional else []
    passed = ", ".join(f"{name}={name}" for name, _ in (*required, *optional))
    name, why = operation.name.removeprefix(f"{prefix}_"), LONG if len(words) > MANY_WORDS else ""
    return f'''\
    async def {name}(  {why}
        {", ".join(words)}, **options: Unpack[RunOptions]
    ) -> OperationView:
        """{operation.summary}"""
        return await self._run("{operation.name}", target, without_none({passed}), options)
'''


def type_text(kind: types.Type) -> str:
    """Return a type as an annotation. Raises TypeError for one that no operation has yet."""
    match kind:
        case types.Metadata():
            return type_text(kind.type)
        case types.ListType():
            return f"Sequence[{type_text(kind.item_type)}]"
        case types.DictType():
            return f"Mapping[{type_text(kind.key_type)}, {type_text(kind.value_type)}]"
        case types.LiteralType():
            return f"Literal[{', '.join(msgspec.json.encode(value).decode() for value in kind.values)}]"
        case types.UnionType():
            return " | ".join(dict.fromkeys(type_text(one) for one in kind.types))
        case _:
            return PLAIN[type(kind)]


PLAIN: Mapping[type[types.Type], str] = MappingProxyType(
    {
        types.StrType: "str",
        types.IntType: "int",
        types.BoolType: "bool",
        types.FloatType: "float",
        types.NoneType: "None",
    }
)


def _or_none(text: str) -> str:
    return text if "None" in text else f"{text} | None"


def all_groups() -> str:
    """Return the module with the mixin that has all groups."""
    groups = GROUPS.values()
    lines = _lines(f"from writ_client.groups.{one.module} import {one.class_name}" for one in _by_module(groups))
    methods = "\n".join(
        f'''\
    @cached_property
    def {one.module}(self: "OperationRunner") -> {one.class_name}:
        """{one.title}."""
        return {one.class_name}(self)
'''
        for one in groups
    )
    return _formatted(f'''\
"""All groups of operations as attributes of `Writ`. Made from the catalogue by `make docs`."""

from functools import cached_property
from typing import TYPE_CHECKING

{lines}

if TYPE_CHECKING:
    from writ_client.groups.group import OperationRunner


class OperationGroups:
    """A mixin for a client which runs operations."""

{methods}''')


def _by_module(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda one: one.module)


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _formatted(text: str) -> str:
    """Return the module in the form of the tree."""
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", f"{FOLDER}/made.py", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout
