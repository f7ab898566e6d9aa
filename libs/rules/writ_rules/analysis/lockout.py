"""Find policies under which the people of an installation could never govern it again.

A policy may demand approvals that nobody can give, or name roles that nobody has. For ordinary operations the next
version corrects such a mistake. For publishing itself, for rollbacks, for lifting a stop and for archiving the journal
there would be no next version.
"""

from collections.abc import Sequence

from msgspec import Struct

from writ_contracts.inventory import WRIT, Principal
from writ_rules.analysis.assumed_facts import facts
from writ_rules.analysis.classes import defaults_of
from writ_rules.analysis.questions import QuestionDecider
from writ_rules.analysis.request_space import options, relevant, request
from writ_rules.engine.compile import Policy
from writ_rules.engine.decisions.ruling import Ruling
from writ_rules.engine.people import People, people_of
from writ_rules.engine.rules.obligations import progress

GOVERNING = ("policy_publish", "policy_rollback", "stop_lift", "journal_archive")
MOST_PEOPLE = 200
"""The most classes of people whose requests are tried. A larger installation has others who can."""


class Lockout(Struct, frozen=True):
    """An operation that nobody could run any more, and the reason for the person who comes nearest."""

    operation: str
    why: str

    @property
    def text(self) -> str:
        """Return the lockout as a line for people."""
        return f"nobody could ever carry out {self.operation}: {self.why}"


def lockouts(
    policy: Policy, principals: Sequence[Principal], now: float, people: People | None = None
) -> list[Lockout]:
    """Return the governing operations out of reach of all these principals, given the approvals others can give.

    `people`: the same principals with their enrolled credentials, where these are known.
    """
    askers = _of_each_kind([one for one in principals if one.kind == "human"])
    approvers = people or people_of(principals)
    reasons = ((name, _why_nobody(policy, name, askers, approvers, now)) for name in GOVERNING)
    return [Lockout(name, why) for name, why in reasons if why]


def _why_nobody(policy: Policy, operation: str, askers: Sequence[Principal], people: People, now: float) -> str:
    """Return "" if one of the askers could do it, else a reason; preferably one about an approval."""
    reasons: list[str] = []
    for one in askers:
        for ruling in _rulings(policy, operation, one, QuestionDecider(people), now):
            why = _what_is_missing(ruling, one, people)
            if not why:
                return ""
            reasons.append(f"{one.id}: {why}")
    return min(reasons, key=lambda text: ("approve" not in text, len(text)), default="there are no people")


def _rulings(policy: Policy, operation: str, one: Principal, asker: QuestionDecider, now: float) -> Sequence[Ruling]:
    """Return the rulings on one request of each kind the policy can distinguish, at any time from now on."""
    verb = policy.verbs[operation]
    tried = options(verb, [policy], [relevant(policy, operation, WRIT, one)], now)
    made = ((option, request(verb.operation, WRIT, one, option)) for option in tried.options)
    defaults = defaults_of([policy], operation)
    return [
        asker.decide(policy, one_request, facts(option.assumed, one_request, defaults))
        for option, one_request in made
        if one_request is not None and not one_request.emergency
    ]


def _what_is_missing(ruling: Ruling, one: Principal, people: People) -> str:
    if ruling.effect == "deny":
        return ruling.reason
    lacking = [demand for demand in ruling.demands if not progress(demand, (), one, people).possible]
    return f"{lacking[0]}, and there are not enough other people to approve it" if lacking else ""


def _of_each_kind(people: Sequence[Principal]) -> list[Principal]:
    """Return one principal for each set of roles; principals named by rules are tried first."""
    kinds: dict[object, list[Principal]] = {}
    for one in people:
        kinds.setdefault(tuple(sorted(one.roles)), []).append(one)
    rows = sorted(kinds.values(), key=len)
    first, rest = [row[0] for row in rows], [one for row in rows for one in row[1:]]
    return [*first, *rest][:MOST_PEOPLE]
