"""Keys of agents that were enrolled for one host: a copy of such a key claims nothing elsewhere."""

from collections.abc import Mapping

from writ_contracts.agents import Claim
from writ_contracts.errors import Untrusted
from writ_contracts.inventory import Agents


def hosts_of(agents: Agents) -> dict[str, str]:
    """Return the host of each key that is bound to one."""
    return {agent.key: agent.host for agent in agents.agents if agent.host is not None}


def check_host(claim: Claim, key: str, hosts: Mapping[str, str]) -> None:
    """Raises Untrusted (`forged_claim`) for a claim by a bound key from another host."""
    expected = hosts.get(key)
    if expected is not None and claim.host != expected:
        where = f"host {claim.host[:12]}" if claim.host else "a host without a name"
        enrolled = f"key {key[:12]} was enrolled for host {expected[:12]}"
        message = f"{enrolled}, and the claim comes from {where}: was the key copied?"
        raise Untrusted(message, code="forged_claim")
