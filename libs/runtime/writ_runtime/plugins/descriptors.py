"""Installed plugins and their descriptors (entry point group `writ.plugin`), checked before anything of them is used.

A package with parts for Writ but without a descriptor, for another API, or under names which are not its own, is an
error which names it. It is never left out in silence: a rule naming its operations would then deny or allow another
thing than its author meant.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions

import msgspec

from writ_contracts.backends import EVERY
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import ConfigError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.plugins import (
    BACKENDS,
    CARRYING,
    CONFORMANCE,
    EVALUATORS,
    NOTIFIERS,
    SCANNERS,
    WRIT_PLUGIN_API,
    InstalledPlugin,
    Plugin,
)
from writ_runtime.plugins.digests import distribution_digest
from writ_runtime.plugins.loading import load

GROUP = "writ.plugin"
NAMED = (BACKENDS, EVALUATORS, NOTIFIERS, SCANNERS, CONFORMANCE)
"""Groups whose entry points are named as policies, inventories and other files use them."""
PARTS = (*CARRYING, *NAMED)
RESERVED = frozenset({WRIT_TARGET, *EVERY, *(one.name.partition("_")[0] for one in BUILT_IN)})
"""Prefixes of Writ's own names. `service_*` in a ceiling or in the capabilities of a target means Writ's operations,
and a plugin that owned that prefix would have to be on every agent that restarts a service.
"""


def installed_plugins(found: Iterable[Distribution] | None = None) -> list[InstalledPlugin]:
    """Return the plugins by name. Raises ConfigError with all problems."""
    plugins: dict[str, InstalledPlugin] = {}
    problems: list[str] = []
    for distribution in distributions() if found is None else found:
        entries = [one for one in distribution.entry_points if one.group in (GROUP, *PARTS)]
        if not entries or distribution.name in plugins:
            continue
        try:
            plugins[distribution.name] = _described(distribution, entries)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return [plugins[name] for name in sorted(plugins)]


def served(plugins: Iterable[InstalledPlugin]) -> dict[str, tuple[str, ...]]:
    """Return the plugins' backends for built-in operations, by operation."""
    backends: dict[str, tuple[str, ...]] = {}
    for one in plugins:
        for backend, names in one.plugin.serves.items():
            for name in names:
                backends[name] = (*backends.get(name, ()), backend)
    return backends


def _described(distribution: Distribution, entries: Sequence[EntryPoint]) -> InstalledPlugin:
    source = f"{distribution.name} {distribution.version}"
    described = [one for one in entries if one.group == GROUP]
    if len(described) != 1:
        raise ConfigError(f"{source} is a plugin and needs exactly one entry point {GROUP}, not {len(described)}")
    plugin = _plugin(source, described[0])
    parts = {group: [one.name for one in entries if one.group == group] for group in PARTS}
    foreign = [name for group in NAMED for name in parts[group] if not plugin.owns(name)]
    foreign += [backend for backend in plugin.serves if backend not in parts[BACKENDS]]
    if foreign:
        prefixes = ", ".join(plugin.prefixes)
        raise ConfigError(f"{source}: {', '.join(foreign)} must begin with its prefix ({prefixes})")
    return InstalledPlugin(
        name=distribution.name,
        version=distribution.version,
        digest=distribution_digest(distribution, [one.module for one in entries]),
        plugin=plugin,
        parts={group: names for group, names in parts.items() if names},
    )


def _plugin(source: str, entry: EntryPoint) -> Plugin:
    value = load(entry, source)
    if not isinstance(value, Plugin):
        raise ConfigError(f"{source}: {entry.value} is not a writ_contracts.plugins.Plugin")
    if value.api != WRIT_PLUGIN_API:
        raise ConfigError(
            f"{source} was written for plugin API {value.api}, and this Writ has plugin API {WRIT_PLUGIN_API}: "
            f"install a version of {entry.dist.name if entry.dist else source} for it"
        )
    try:
        plugin = msgspec.convert(msgspec.to_builtins(value), Plugin)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {entry.value}: {error}") from error
    if taken := sorted(RESERVED.intersection(plugin.prefixes)):
        raise ConfigError(f"{source}: Writ's own names have the prefix {', '.join(taken)}: give the plugin another one")
    return plugin
