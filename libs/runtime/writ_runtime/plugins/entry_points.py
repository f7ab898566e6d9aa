"""Plugins: operations, handlers, backends and evaluators of installed packages, by entry points.

    [project.entry-points."writ.plugin"]         name = "package.module:PLUGIN"       # a Plugin: its descriptor
    [project.entry-points."writ.operations"]     name = "package.module:OPERATIONS"   # tuple[Operation, ...]
    [project.entry-points."writ.handlers"]       name = "package.module:HANDLERS"     # Mapping[str, handler]
    [project.entry-points."writ.hostops"]        name = "package.module"               # sent to hosts; its HANDLERS
    [project.entry-points."writ.backends"]       name = "package.module:backend"      # a Backend factory
    [project.entry-points."writ.evaluators"]     name = "package.module:EVALUATOR"    # an Evaluator for policies
    [project.entry-points."writ.notifiers"]      name = "package.module:NOTIFIER"     # a Notifier for notifications
    [project.entry-points."writ.scanners"]       name = "package.module:SCANNER"      # a Scanner for `writ scan run`

Every service loads the operations; handlers and backends are for agents alone, evaluators for readers of policies,
notifiers for audit, scanners for the command.
A name of two packages is an error naming both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from msgspec import structs

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import ConfigError
from writ_contracts.evaluators import Evaluator
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.notifications import Notifier
from writ_contracts.operations import OPTIONS, Catalogue, Operation
from writ_contracts.plugins import (
    BACKENDS,
    EVALUATORS,
    HANDLERS,
    NOTIFIERS,
    OPERATIONS,
    SCANNERS,
    InstalledPlugin,
)
from writ_contracts.scanners import Scanner
from writ_runtime.plugins.descriptors import installed_plugins, served
from writ_runtime.plugins.loading import load

T = TypeVar("T")
_WRIT = "Writ itself"


def load_catalogue(found: Iterable[EntryPoint] | None = None, *, evaluators: bool = False) -> Catalogue:
    """Return the built-in operations and those of plugins; with the evaluators of policies on demand. Raises
    ConfigError.
    """
    plugins = installed_plugins() if found is None else []
    further = served(plugins)
    built_in = (_with_backends(operation, further.pop(operation.name, ())) for operation in BUILT_IN)
    named = [(_WRIT, operation.name, operation) for operation in built_in]
    if further:
        raise ConfigError(
            f"a plugin declares that it serves {', '.join(sorted(further))}, and no built-in operation has that name"
        )
    owners = {one.name: one for one in plugins}
    for entry in entry_points(group=OPERATIONS) if found is None else found:
        own = [(_source(entry), operation.name, operation) for operation in _operations(entry)]
        _refuse_foreign(owners.get(entry.dist.name) if entry.dist else None, [name for _, name, _ in own])
        named += own
    unique = _unique("operation", named)
    for source, _, operation in named[len(BUILT_IN) :]:
        _refuse_control(source, operation)
        _refuse_options(source, operation)
    return Catalogue(unique.values(), load_evaluators() if evaluators else None, plugins)


def _refuse_control(source: str, operation: Operation) -> None:
    """Raise ConfigError for a control operation: executors carry these out, and have no handler of a plugin."""
    if operation.control or WRIT_TARGET in operation.backends:
        raise ConfigError(f"{source}: operation {operation.name}: a plugin cannot define a control operation")


def _refuse_options(source: str, operation: Operation) -> None:
    """Raise ConfigError for a parameter whose value a tool would take for an option of the request."""
    if taken := sorted(OPTIONS.intersection(operation.parameters.__struct_encode_fields__)):
        raise ConfigError(
            f"{source}: operation {operation.name}: every request has an option {', '.join(taken)}; give the parameter "
            "another name"
        )


def _with_backends(operation: Operation, backends: tuple[str, ...]) -> Operation:
    """Return the operation, also for these backends of plugins. Raises ConfigError for a control operation."""
    if backends and operation.control:
        raise ConfigError(
            f"backend {backends[0]} of a plugin declares that it serves {operation.name}, which executors carry out"
        )
    return structs.replace(operation, backends=(*operation.backends, *backends)) if backends else operation


def _refuse_foreign(plugin: InstalledPlugin | None, names: Iterable[str]) -> None:
    foreign = [name for name in names if plugin is not None and not plugin.plugin.owns(name)]
    if plugin is not None and foreign:
        prefixes = ", ".join(f"{prefix}_" for prefix in plugin.plugin.prefixes)
        raise ConfigError(f"{plugin.source}: operation {', '.join(foreign)} must begin with its prefix ({prefixes})")


def load_evaluators(found: Iterable[EntryPoint] | None = None) -> dict[str, Evaluator]:
    """Return plugins' conditions for policies, by the names of their entry points. Raises ConfigError."""
    return _load_named(EVALUATORS, Evaluator, found)


def load_notifiers() -> dict[str, Notifier]:
    """Return plugins' notifiers by name. Raises ConfigError."""
    return _load_named(NOTIFIERS, Notifier)


def load_scanners() -> dict[str, Scanner]:
    """Return plugins' scanners by name. Raises ConfigError."""
    return _load_named(SCANNERS, Scanner)


def _load_named(group: str, kind: type[T], found: Iterable[EntryPoint] | None = None) -> dict[str, T]:
    """Return the objects of a group by the names of their entry points. Raises ConfigError for another type."""
    entries = entry_points(group=group) if found is None else found
    return _unique(kind.__name__.lower(), [(_source(entry), entry.name, _of_kind(entry, kind)) for entry in entries])


def load_handlers(found: Iterable[EntryPoint] | None = None) -> dict[str, object]:
    """Return plugins' handlers by operation. Raises ConfigError."""
    named = [
        (_source(entry), name, handler)
        for entry in (entry_points(group=HANDLERS) if found is None else found)
        for name, handler in _mapping(entry).items()
    ]
    return _unique("handler of", named)


def load_host_handlers(entry: EntryPoint) -> Mapping[str, object]:
    """Return the handlers of a module sent to hosts (`writ.hostops`), by operation. Raises ConfigError."""
    handlers = getattr(load(entry, _source(entry)), "HANDLERS", None)
    if not isinstance(handlers, Mapping):
        raise ConfigError(f"{_source(entry)}: {entry.value} has no HANDLERS, a mapping from operation to function")
    return handlers


def load_backends() -> dict[str, Callable[..., object]]:
    """Return factories of backends by the backend's name. Raises ConfigError."""
    named = [(_source(entry), entry.name, _callable(entry)) for entry in entry_points(group=BACKENDS)]
    return _unique("backend", named)


def _unique(what: str, named: Iterable[tuple[str, str, T]]) -> dict[str, T]:
    kept: dict[str, T] = {}
    sources: dict[str, str] = {}
    for source, name, value in named:
        if name in kept:
            raise ConfigError(f"{what} {name} comes from {sources[name]} and from {source}: uninstall one of them")
        kept[name], sources[name] = value, source
    return kept


def _operations(entry: EntryPoint) -> Iterator[Operation]:
    value = load(entry, _source(entry))
    if not isinstance(value, tuple) or not all(isinstance(item, Operation) for item in value):
        raise ConfigError(f"{_source(entry)}: {entry.value} is not a tuple of operations")
    yield from value


def _mapping(entry: EntryPoint) -> Mapping[str, object]:
    value = load(entry, _source(entry))
    if not isinstance(value, Mapping):
        raise ConfigError(f"{_source(entry)}: {entry.value} is not a mapping from operation to handler")
    return value


def _of_kind(entry: EntryPoint, kind: type[T]) -> T:
    value = load(entry, _source(entry))
    if not isinstance(value, kind):
        raise ConfigError(f"{_source(entry)}: {entry.value} is not of type {kind.__name__} ({kind.__module__})")
    return value


def _callable(entry: EntryPoint) -> Callable[..., object]:
    value = load(entry, _source(entry))
    if not callable(value):
        raise ConfigError(f"{_source(entry)}: {entry.value} returns no backend")
    return value


def _source(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else f"entry point {entry.name}"
