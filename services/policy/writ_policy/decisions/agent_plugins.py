"""The builds of plugins that agents may have: policy's own, and those that an operator lists during an upgrade.

A plugin's code determines what its operations do, so a decision is valid only for a build that policy knows.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from writ_contracts.operations import Catalogue
from writ_contracts.plugins import PluginDigests, digest_problem, digests_of


class AgentPlugins(Struct, frozen=True, kw_only=True):
    """The accepted builds.

    `own`: the builds installed with policy. `accepted`: all accepted digests of agents' builds, by plugin.
    """

    catalogue: Catalogue
    own: PluginDigests
    accepted: Mapping[str, Sequence[str]]

    def accepted_for(self, operation: str, backend: str) -> dict[str, list[str]]:
        """Return the accepted digests of the plugins that an operation on this backend may use."""
        if not self.accepted:
            return {}
        concerned = self.catalogue.plugins_of(operation, backend)
        return self._accepted(name for name in self.accepted if name in concerned or name not in self.own)

    def all_accepted(self) -> dict[str, list[str]]:
        return self._accepted(self.accepted)

    def problem(self, operation: str, backend: str, agent: PluginDigests) -> str:
        """Return why an agent with these plugins must not carry out the operation, or "" if it may."""
        if not agent and not self.catalogue.plugins:
            return ""
        return digest_problem(agent, self.accepted, required=self.catalogue.plugins_of(operation, backend))

    def _accepted(self, names: Iterable[str]) -> dict[str, list[str]]:
        return {name: list(self.accepted[name]) for name in names}


def agent_plugins(catalogue: Catalogue, listed: Mapping[str, Sequence[str]]) -> AgentPlugins:
    """Return the accepted builds: the ones installed here, then the listed ones."""
    own = digests_of(catalogue.plugins)
    accepted = {name: [digest] for name, digest in own.items()}
    for name, digests in listed.items():
        accepted[name] = list(dict.fromkeys([*accepted.get(name, []), *digests]))
    return AgentPlugins(catalogue=catalogue, own=own, accepted=accepted)
