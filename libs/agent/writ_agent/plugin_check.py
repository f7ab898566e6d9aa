"""`python -m writ_agent.plugin_check [NAME]`: compare installed plugins, as an agent uses them, with what they declare.

It imports the handlers, makes each backend, and carries out nothing. The problems are JSON on standard
output, by plugin.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points

import msgspec

from writ_agent.backends.port import Backend, Baselines, Handler, Previews, Probes
from writ_contracts.backends import SSH
from writ_contracts.errors import ConfigError, WritError
from writ_contracts.operations import Operation
from writ_contracts.plugins import HOSTOPS, InstalledPlugin
from writ_runtime.plugins.descriptors import installed_plugins
from writ_runtime.plugins.entry_points import load_backends, load_catalogue, load_handlers, load_host_handlers

POWERS: tuple[tuple[str, type], ...] = (("baseline", Baselines), ("probe", Probes), ("preview", Previews))


def problems_of(plugin: InstalledPlugin) -> list[str]:
    """Return the differences from the declaration."""
    own = {name: one for name, one in load_catalogue().items() if plugin.plugin.owns(name)}
    handlers = {name: one for name, one in load_handlers().items() if plugin.plugin.owns(name)}
    factories = {name: make for name, make in load_backends().items() if plugin.plugin.owns(name)}
    made, found = _made(factories)
    served = {name for names in plugin.plugin.serves.values() for name in names}
    carried = _carried()
    lacking = {name for name in (*own, *served) if not _carriers(name, handlers, made)} - carried
    found += [f"no handler or backend of it carries out {name}" for name in sorted(lacking) if made or not factories]
    by_ssh = {name for name, one in own.items() if SSH in one.backends} - carried
    found += [f"{name} declares backend {SSH}, and no module of {HOSTOPS} carries it out" for name in sorted(by_ssh)]
    found += [f"it carries out {name}, which it does not define" for name in sorted(handlers.keys() - own.keys())]
    for name, operation in own.items():
        found += [text for one in _carriers(name, handlers, made) for text in _powers(operation, one)]
    return found


def _carried() -> set[str]:
    """Return the operations of the modules sent to hosts. Raises ConfigError."""
    return {name for one in entry_points(group=HOSTOPS) for name in load_host_handlers(one)}


def _made(factories: dict[str, Callable[..., object]]) -> tuple[list[Backend], list[str]]:
    """Return the backends, and the reasons for which others could not be made."""
    made: list[Backend] = []
    found: list[str] = []
    for name, factory in factories.items():
        try:
            backend = factory()
        except (ConfigError, WritError, OSError) as error:
            found.append(f"backend {name} cannot be created here: {error}")
            continue
        if not isinstance(backend, Backend):
            found.append(f"backend {name} is not a writ_agent.backends.port.Backend")
        elif backend.name != name:
            found.append(f"backend {name} has the attribute name {backend.name}")
        else:
            made.append(backend)
    return made, found


def _carriers(name: str, handlers: dict[str, object], backends: Iterable[Backend]) -> list[object]:
    own = [handlers[name]] if name in handlers else []
    return [*own, *(backend for backend in backends if name in backend.operations)]


def _powers(operation: Operation, carrier: object) -> Iterator[str]:
    if not isinstance(carrier, Handler):
        yield f"the handler of {operation.name} is not a writ_agent.backends.port.Handler"
        return
    for word, port in POWERS:
        if getattr(operation, word) and not isinstance(carrier, port):
            yield f"{operation.name} declares a {word}, and its handler has none"


def main() -> None:
    """Write the problems by plugin."""
    expected = sys.argv[1:]
    try:
        answer = {one.name: problems_of(one) for one in installed_plugins() if not expected or one.name in expected}
        sys.stdout.buffer.write(msgspec.json.encode({"plugins": answer}))
    except ConfigError as error:
        sys.stdout.buffer.write(msgspec.json.encode({"error": str(error)}))


if __name__ == "__main__":
    main()
