"""All that decisions stand on, as of one moment: policy, targets, principals, agents, and their versions."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from writ_contracts.decisions import PolicyVersion
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import WRIT, Agents, Inventory, Principal, Principals, Target
from writ_policy.engine.compile import Policy
from writ_policy.engine.decide import People
from writ_policy.loading import Read


class World(Struct, frozen=True, eq=False, kw_only=True):
    """One reading of all files; replaced as a whole."""

    policy: Policy
    version: PolicyVersion
    targets: Mapping[str, Target]
    principals: Mapping[str, Principal]
    people: People
    agents: Mapping[str, frozenset[str]]
    """The keys that may claim, by pool."""

    def target(self, target_id: str) -> Target:
        """Raises Invalid (`unknown_target`)."""
        try:
            return self.targets[target_id]
        except KeyError:
            raise Invalid(f"no target {target_id!r} in the inventory", code="unknown_target") from None

    def principal(self, principal_id: str, key: str) -> Principal:
        """Who it is, if the key is theirs. Raises Invalid (`unknown_principal`, `key_mismatch`)."""
        principal = self.principals.get(principal_id)
        if principal is None:
            raise Invalid(f"no principal {principal_id!r}", code="unknown_principal")
        if principal.key != key:
            raise Invalid(f"the key that sent this is not that of {principal_id!r}", code="key_mismatch")
        return principal

    def owns(self, principal_id: str, owner: str | None) -> bool:
        """Whether what belongs to `owner` is the principal's own: by itself, or by the agent that acts for it."""
        if owner is None:
            return False
        known = self.principals.get(owner)
        return owner == principal_id or (known is not None and known.acts_for == principal_id)


def compose(
    policy: Read[Policy], inventory: Read[Inventory], principals: Read[Principals], agents: Read[Agents]
) -> World:
    """The world of these files."""
    targets = {target.id: target for target in inventory.value.targets}
    return World(
        policy=policy.value,
        version=PolicyVersion(
            name=policy.value.name,
            version=policy.value.version,
            digest=policy.digest,
            inventory_digest=inventory.digest,
            principals_digest=principals.digest,
        ),
        targets={**targets, WRIT_TARGET: WRIT},
        principals={principal.id: principal for principal in principals.value.principals},
        people=_people(principals.value.principals),
        agents=_agents(agents.value),
    )


def _people(principals: Iterable[Principal]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for principal in principals:
        for role in principal.roles if principal.kind == "human" else ():
            found.setdefault(role, []).append(principal.id)
    return {role: tuple(ids) for role, ids in found.items()}


def _agents(agents: Agents) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for agent in agents.agents:
        found.setdefault(agent.pool, set()).add(agent.key)
    return {pool: frozenset(keys) for pool, keys in found.items()}
