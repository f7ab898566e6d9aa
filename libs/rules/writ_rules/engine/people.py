"""The possible approvers: the humans with each role, the person behind each principal, and the presence each can
prove.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from msgspec import Struct

from writ_contracts.inventory import Principal
from writ_contracts.people.credentials import KEY, TOUCH, Presence
from writ_contracts.people.persons import person_of

NOBODY: Mapping[str, str] = MappingProxyType({})


class People(Struct, frozen=True, eq=False):
    """The humans of an installation, by role, and the person behind each principal.

    `presences`: the presences provable by each person's enrolled credentials, None where no directory is known; a
    person without an entry has a key only. `solo`: one person runs the installation, and may approve an AI agent's
    requests for them, if they prove their presence.
    """

    roles: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    persons: Mapping[str, str] = NOBODY
    presences: Mapping[str, tuple[Presence, ...]] | None = None
    solo: bool = False

    @property
    def is_team(self) -> bool:
        """Return true if several people have credentials, and none of them runs the installation alone."""
        return not self.solo and self.presences is not None and len(self.presences) > 1

    def person(self, principal: str) -> str:
        """Return the person behind this principal."""
        return self.persons.get(principal, principal)

    def behind(self, asker: Principal) -> str:
        """Return the requesting person, also for a principal known only from a hypothetical request."""
        return self.persons.get(asker.id) or self.person(asker.person or asker.acts_for or asker.id)

    def members(self, roles: Iterable[str]) -> set[str]:
        """Return the humans with one of these roles."""
        return {who for role in roles for who in self.roles.get(role, ())}

    def needed(self, who: str, asker: Principal, demanded: Presence) -> Presence | None:
        """Return the presence an approval by this human must prove; None where none of theirs counts for this
        requester.
        """
        if self.person(who) != self.behind(asker):
            return demanded
        return demanded.at_least(TOUCH) if self.solo and asker.kind == "agent" else None

    def can_prove(self, who: str, needed: Presence) -> bool:
        """Return true if this human has an enrolled credential to prove it."""
        if self.presences is None or KEY.meets(needed):
            return True
        return any(one.meets(needed) for one in self.presences.get(self.person(who), ()))

    def able(self, roles: Iterable[str], asker: Principal, demanded: Presence) -> set[str]:
        """Return the humans with one of these roles whose approval can count for this requester."""
        needs = ((who, self.needed(who, asker, demanded)) for who in self.members(roles))
        return {who for who, needed in needs if needed is not None and self.can_prove(who, needed)}


def people_of(
    principals: Iterable[Principal], presences: Mapping[str, tuple[Presence, ...]] | None = None, *, solo: bool = False
) -> People:
    """Return the possible approvers among these principals. Disabled ones have no role."""
    listed = list(principals)
    known = {one.id: one for one in listed}
    by_role: dict[str, list[str]] = {}
    for principal in listed:
        for role in principal.roles if principal.kind == "human" and not principal.disabled else ():
            by_role.setdefault(role, []).append(principal.id)
    return People(
        roles={role: tuple(ids) for role, ids in by_role.items()},
        persons={one.id: person_of(one.id, known) for one in listed},
        presences=presences,
        solo=solo,
    )
