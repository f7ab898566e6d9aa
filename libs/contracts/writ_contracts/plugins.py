"""The descriptor of a plugin: its API version, its names, and which built-in operations its backends carry out.

It is a small module of its own in the package, so a plugin can be listed without importing its handlers.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct, field

from writ_contracts.bounds import Label
from writ_contracts.ids import Digest

WRIT_PLUGIN_API = 1
"""The version of the plugin API. It is raised when a plugin for the former version could do harm or break."""

Prefix = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{1,31}(?!\n)$")]
MOST_PLUGINS, MOST_BUILDS = 64, 16
PluginDigests = Annotated[dict[Label, Digest], Meta(max_length=MOST_PLUGINS)]
"""Digests of plugins by the name of their distribution."""
AcceptedBuilds = Annotated[
    dict[Label, Annotated[list[Digest], Meta(max_length=MOST_BUILDS)]], Meta(max_length=MOST_PLUGINS)
]
"""The digests that an agent's plugins may have, by the name of their distribution."""
OPERATIONS, HANDLERS, HOSTOPS = "writ.operations", "writ.handlers", "writ.hostops"
BACKENDS, EVALUATORS = "writ.backends", "writ.evaluators"
NOTIFIERS, SCANNERS = "writ.notifiers", "writ.scanners"
CONFORMANCE = "writ.conformance"
"""Hosts on which the suite of backends can try a backend, by the backend's name (`writ plugin check`)."""
CARRYING = (OPERATIONS, HANDLERS, HOSTOPS)
"""Groups of entry points; those that define an operation or carry it out."""
Variable = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{2,63}(?!\n)$")]


class Plugin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`prefixes`: its operations, backends, evaluators, notifiers and scanners are named `prefix` or `prefix_…`.
    `serves`: built-in operations by backend of its own. `configuration`: the environment variables it reads, with
    their purpose.
    """

    api: int
    prefixes: Annotated[tuple[Prefix, ...], Meta(min_length=1, max_length=8)]
    summary: str = ""
    serves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    configuration: Mapping[Variable, str] = field(default_factory=dict)

    def owns(self, name: str) -> bool:
        """Return whether a name is one of its own."""
        return any(name == prefix or name.startswith(f"{prefix}_") for prefix in self.prefixes)


class InstalledPlugin(Struct, frozen=True, kw_only=True):
    """An installed distribution with parts for Writ. `parts`: its entry points by group. `digest`: SHA-256 over its
    files, the same wherever the same build is installed.
    """

    name: str
    version: str
    digest: Digest
    plugin: Plugin
    parts: Mapping[str, Sequence[str]]

    @property
    def source(self) -> str:
        """The package, for messages."""
        return f"{self.name} {self.version}"

    def concerns(self, operation: str, backend: str) -> bool:
        """Return whether it defines or carries out the operation, or serves this backend."""
        carries = any(group in self.parts for group in CARRYING)
        return (carries and self.plugin.owns(operation)) or backend in self.parts.get(BACKENDS, ())


def digests_of(plugins: Iterable[InstalledPlugin]) -> PluginDigests:
    return {one.name: one.digest for one in plugins}


def digest_problem(
    agent: Mapping[str, str], accepted: Mapping[str, Collection[str]], required: Iterable[str] = ()
) -> str:
    """Return why an agent with these plugins may not carry out an operation; empty if it may.

    `accepted`: the digests accepted by policy, by plugin. `required`: plugins the agent must have.
    """
    for name in sorted({*agent, *required}):
        mine, known = agent.get(name), accepted.get(name, ())
        if mine not in known:
            has = f"digest {mine}" if mine else "no such plugin"
            expected = ", ".join(known) or "no such plugin"
            return (
                f"plugin {name}: the agent has {has}, policy accepts {expected}. "
                "Install the same build on both, or list the agent's in WRIT_PLUGIN_DIGESTS of the policy service"
            )
    return ""
