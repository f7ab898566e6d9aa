"""`writ operations`: the list of operations, and the parameters of one."""

from collections.abc import Collection, Iterator
from typing import Any

import click
import msgspec
from msgspec import NODEFAULT, inspect

from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.options import listing, local
from writ_cli.arguments.parameter_types import types_of
from writ_cli.arguments.usual_names import PluralCommand
from writ_cli.context.settings import Settings
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_contracts.nearest_name import near
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import classes
from writ_runtime.plugins.entry_points import load_catalogue


@click.command(cls=PluralCommand)
@click.argument("name", required=False, shell_complete=completion.operations)
@click.option("--risk", "risks", multiple=True, type=click.Choice([one.value for one in Risk]), help="Of this risk.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="BACKEND",
    help="Of this backend, such as ssh.",
    shell_complete=completed_names.backends,
)
@listing(local)
async def operations(settings: Settings, name: str | None, risks: tuple[str, ...], backends: tuple[str, ...]) -> int:
    """List the operations of this installation; with a NAME, show its parameters.

    Several values of an option are "or"; different options are "and".
    """
    if name and (risks or backends):
        raise click.UsageError("give the NAME of an operation, or --risk and --backend")
    catalogue = load_catalogue()
    found = [catalogue.find(name)] if name else _chosen(catalogue.values(), risks, backends)
    screen = settings.screen
    if screen.json:
        described = [_described(one) for one in found]
        screen.data(described[0] if name else described)
    elif name:
        _show(settings, found[0])
    else:
        rows = ((one.name, one.risk, ", ".join(one.backends), one.summary) for one in found)
        screen.table(("operation", "risk", "backends", "what it does"), rows, drop=("backends",))
    return Exit.DONE


def _chosen(known: Collection[Operation], risks: tuple[str, ...], backends: tuple[str, ...]) -> list[Operation]:
    """Return the operations of any of the risks and any of the backends, by name. Raises Invalid for an unknown one."""
    offered = {backend for one in known for backend in one.backends}
    for backend in backends:
        if backend not in offered:
            raise Invalid(f"no operation has backend {backend[:80]!r}{near(backend, offered)}")
    fitting = (one for one in known if not backends or not {*backends}.isdisjoint(one.backends))
    return sorted((one for one in fitting if not risks or one.risk in risks), key=lambda one: one.name)


def _described(operation: Operation) -> dict[str, Any]:
    return {
        "name": operation.name,
        "summary": operation.summary,
        "risk": operation.risk,
        "backends": operation.backends,
        "idempotent": operation.idempotent,
        "control": operation.control,
        "own_signature": operation.own_signature,
        "classes": dict(classes(operation.parameters)),
        "parameters": operation.schema(),
    }


def _show(settings: Settings, operation: Operation) -> None:
    screen = settings.screen
    screen.line(f"{operation.name}: {operation.summary}")
    facts = [
        ("risk", operation.risk.value),
        ("backends", ", ".join(operation.backends)),
        ("may be run again after a crash", "yes" if operation.idempotent else "no"),
        ("needs your own signature", "yes" if operation.own_signature else ""),
    ]
    screen.fields(facts)
    screen.table(("parameter", "type", "default", "class", "limits"), _parameters(operation), drop=("class",))


def _parameters(operation: Operation) -> Iterator[tuple[object, ...]]:
    kinds, classed = types_of(operation.parameters), classes(operation.parameters)
    schema = operation.schema()["$defs"][operation.parameters.__name__]["properties"]
    for field in msgspec.structs.fields(operation.parameters):
        name = field.encode_name
        yield name, type_name(kinds[name]), _default(field), classed[field.name].value, _limits(schema[name])


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    return "" if value is None else msgspec.json.encode(value).decode()


def _limits(schema: dict[str, Any]) -> str:
    parts = [part for part in (schema, *schema.get("anyOf", [])) if part.get("type") != "null"]
    words = {"minimum": "≥", "maximum": "≤", "minLength": "length ≥", "maxLength": "length ≤", "pattern": "like"}
    limits = [
        f"{word} {part[key]}"
        for part in parts
        for key, word in words.items()
        if key in part and not (key == "pattern" and "description" in part)  # words say more than an expression
    ]
    described = [part["description"] for part in parts if "description" in part]
    return ", ".join([*dict.fromkeys(described), *dict.fromkeys(limits)])


def type_name(kind: inspect.Type) -> str:
    """Return a type's name for the command line."""
    match kind:
        case inspect.IntType():
            return "integer"
        case inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "yes or no"
        case inspect.StrType():
            return "text"
        case inspect.ListType():
            return f"list of {type_name(kind.item_type)}"
        case inspect.DictType():
            return "name=value"
        case inspect.LiteralType():
            return " | ".join(str(value) for value in kind.values)
        case inspect.UnionType():
            return " or ".join(type_name(arm) for arm in kind.types if not isinstance(arm, inspect.NoneType))
        case inspect.Metadata():
            return type_name(kind.type)
        case _:
            return "JSON"
