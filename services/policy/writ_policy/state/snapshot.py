"""All inputs of decisions at one moment: policy, targets, principals, agents, and the versions of these."""

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.decisions import PolicyVersion
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.installation.agent_hosts import hosts_of
from writ_contracts.inventory import GATEWAY, WRIT, Agents, Inventory, Principal, Principals, Target
from writ_contracts.people.credentials import Credential
from writ_contracts.people.principal_changes import is_active, principals_in_force
from writ_contracts.subjects import can_scan
from writ_policy.state.loading import LoadedFile
from writ_policy.state.visible_policy import VisiblePolicy, VisibleTargets, find_target
from writ_policy.versions.stored_versions import VersionInForce
from writ_rules.engine.clauses.conditions import ScanCondition
from writ_rules.engine.compile import Policy
from writ_rules.engine.decisions.reach import about, is_limited, reach_of
from writ_rules.engine.people import People, people_of
from writ_trust.approvals import own_nkey
from writ_trust.people import Directory
from writ_trust.sessions import NONE, Session, Sessions

MOST_NARROWED = 64
"""The most policies cached for principals with limited lists. Each may have all rules of the policy."""


class PolicySnapshot(Struct, frozen=True, eq=False, kw_only=True):
    """One version of the policy and one reading of all files. It is replaced as a whole."""

    installation: str
    in_force: VersionInForce
    policy: Policy
    version: PolicyVersion
    targets: Mapping[str, Target]
    principals: Mapping[str, Principal]
    """The principals in force: those of the file with the changes by `principal_manage`, without gateways, which
    request nothing for themselves.
    """
    gateways: Mapping[str, Principal]
    """The gateways in force, by id."""
    listed: Mapping[str, Principal]
    """The principals in the file alone."""
    people: People
    agents: Mapping[str, frozenset[str]]
    """The keys that may claim, by pool."""
    hosts: Mapping[str, str]
    """The only host from which each key may claim."""
    scanners: Mapping[str, tuple[str, ...]]
    """The scanners whose reports rules need, by operation."""
    directory: Directory | None = None
    """The credentials of people, besides their nkeys."""
    sessions: Sessions = NONE
    """The sessions that nobody has ended, by their keys."""
    now: float = 0.0
    """The instant by which sessions are open or expired (Unix seconds)."""

    narrowed: dict[object, Policy] = field(default_factory=dict)
    """The policies of principals with limited lists, made on first use."""

    def target(self, target_id: str) -> Target:
        """Return the target. Raises Invalid (`unknown_target`)."""
        return find_target(self.targets, target_id)

    def seen_by(self, principal: Principal, at: float) -> VisiblePolicy:
        """Return the part of the snapshot that the principal may list, at an instant."""
        if not is_limited(self.policy, principal):
            return VisiblePolicy(self.policy, self.targets)
        reach = reach_of(self._about(principal), principal, at)
        return VisiblePolicy(reach.policy, VisibleTargets(self.targets, reach), reach)

    def _about(self, principal: Principal) -> Policy:
        key = principal.id, principal.kind, tuple(sorted(principal.roles))
        if key not in self.narrowed:
            if len(self.narrowed) >= MOST_NARROWED:
                self.narrowed.clear()
            self.narrowed[key] = about(self.policy, principal)
        return self.narrowed[key]

    def principal(self, principal_id: str, key: str, *, recorded: bool = False) -> Principal:
        """Return the principal if the key is its own or that of one of its sessions.

        Raises Invalid (`unknown_principal`, `principal_disabled`, `session_expired`, `key_mismatch`). `recorded`: the
        request was recorded before, so that the session may have expired since.
        """
        principal = self.principals.get(principal_id)
        if principal is None:
            raise Invalid(f"no principal {principal_id!r}", code="unknown_principal")
        if not is_active(principal, self.principals):
            disabled = principal_id if principal.disabled else principal.acts_for
            raise Invalid(f"principal {disabled} is disabled", code="principal_disabled")
        if principal.key == key:
            return principal
        session = self.session(principal, key)
        if session is None:
            raise Invalid(f"the request came from another key than that of {principal_id!r}", code="key_mismatch")
        if not recorded and not session.lasts(self.now):
            raise Invalid(f"session {session.id} of {principal_id} has expired: `writ login`", code="session_expired")
        return principal

    def session(self, principal: Principal, key: str) -> Session | None:
        """Return the principal's session with this key, even if it has expired.

        None if the key that opened it is no longer the principal's.
        """
        session = self.sessions.get(key)
        known = session is not None and (session.by, session.signer) == (principal.id, principal.key)
        return session if known else None

    def by_gateway(self, principal_id: str, key: str) -> bool:
        """Return true if the key belongs to the gateway that the principal names as `via`."""
        principal = self.principals.get(principal_id)
        gateway = self.gateways.get(principal.via) if principal and principal.via else None
        return gateway is not None and gateway.key == key and not gateway.disabled

    def requester(self, principal_id: str, key: str, *, recorded: bool = False) -> Principal:
        """Return the principal if the key is its own or its gateway's. Raises as `principal`."""
        if self.by_gateway(principal_id, key):
            key = self.principals[principal_id].key
        return self.principal(principal_id, key, recorded=recorded)

    def credentials(self, principal_id: str, requested_at: float) -> list[Credential]:
        """Return this human's credentials for approvals of a request of that time: the nkey, and enrolled
        credentials.
        """
        principal = self.principals.get(principal_id)
        if principal is None or principal.kind != "human" or principal.disabled:
            return []
        person = self.people.person(principal_id)
        known = [] if self.directory is None else self.directory.of_person(person)
        counting = [one.credential for one in known if one.counts_for(requested_at)]
        opened = [one.key for one in self.sessions.values() if self.session(principal, one.key) is not None]
        nkeys = [one for key in (principal.key, *opened) for one in own_nkey(known, person, key)]
        return [*nkeys, *counting]

    def owns(self, principal_id: str, owner: str | None) -> bool:
        """Return true if records of `owner` are the principal's own, or of an agent that acts for it."""
        if owner is None:
            return False
        known = self.principals.get(owner)
        return owner == principal_id or (known is not None and known.acts_for == principal_id)


def compose(
    installation: str,
    in_force: VersionInForce,
    inventory: LoadedFile[Inventory],
    principals: LoadedFile[Principals],
    agents: LoadedFile[Agents],
    changes: Iterable[PrincipalManage] = (),
    directory: Directory | None = None,
) -> PolicySnapshot:
    """Return the snapshot of this version, these files and these changes of principals."""
    listed = {principal.id: principal for principal in principals.value.principals}
    known = principals_in_force(listed.values(), changes)
    targets = {target.id: target for target in inventory.value.targets}
    policy, stored = in_force.policy, in_force.stored
    return PolicySnapshot(
        installation=installation,
        in_force=in_force,
        policy=policy,
        version=PolicyVersion(
            number=stored.number,
            name=policy.name,
            version=policy.version,
            digest=stored.digest,
            inventory_digest=inventory.digest,
            principals_digest=principals.digest,
        ),
        targets={**targets, WRIT_TARGET: WRIT},
        principals={name: one for name, one in known.items() if one.kind != GATEWAY},
        gateways={name: one for name, one in known.items() if one.kind == GATEWAY},
        listed=listed,
        people=_people(known.values(), directory),
        directory=directory,
        agents=_agents(agents.value),
        hosts=hosts_of(agents.value),
        scanners=_scanners(policy),
    )


def _people(principals: Iterable[Principal], directory: Directory | None) -> People:
    """Return the possible approvers, without disabled principals. Without a directory nobody can prove more
    than a key.
    """
    if directory is None:
        return people_of(principals, {})
    return people_of(principals, directory.presences(), solo=directory.posture == "solo")


def _agents(agents: Agents) -> dict[str, frozenset[str]]:
    by_pool: dict[str, set[str]] = {}
    for agent in agents.agents:
        by_pool.setdefault(agent.pool, set()).add(agent.key)
    return {pool: frozenset(keys) for pool, keys in by_pool.items()}


def _scanners(policy: Policy) -> dict[str, tuple[str, ...]]:
    by_operation: dict[str, set[str]] = {}
    places = (*policy.index.values(), *policy.inherited.values(), *policy.urgent.values())
    for rule in {id(rule): rule for rules in places for rule in rules if rule.asks_facts}.values():
        for operation, conditions in rule.conditions.items():
            names = {one.scanner for one in conditions if isinstance(one, ScanCondition) and can_scan(one.scanner)}
            by_operation.setdefault(operation, set()).update(names)
    return {operation: tuple(sorted(names)) for operation, names in by_operation.items() if names}
