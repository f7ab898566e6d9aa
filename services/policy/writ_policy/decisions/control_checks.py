"""Checks of control operations that rules cannot express, since they depend on the stops and emergencies in force.

An unknown id is refused, so that a request never succeeds without an effect. Only people lift stops and handle
emergencies. An emergency ends within the policy's bound, is confirmed by another person, and is reviewed before the
person who declared it may declare another one.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct, structs

from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Principal
from writ_contracts.operations import Catalogue
from writ_contracts.people.persons import person_of, same_person
from writ_contracts.people.principal_changes import changed, entry_version, is_active
from writ_policy.decisions.control_denial import denied_control
from writ_policy.decisions.session_checks import check_key, check_session, check_session_end
from writ_policy.decisions.window_checks import check_archive, check_window, check_window_end
from writ_policy.lockouts import find_lockouts
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.control import ControlState, Emergency
from writ_rules.engine.decisions.ruling import Ruling
from writ_rules.engine.policy_file.times import duration_text
from writ_trust.people import check_new_person

PEOPLE_ONLY = frozenset(
    {
        "approval_decide",
        "emergency_confirm",
        "emergency_declare",
        "emergency_review",
        "principal_manage",
        "stop_lift",
    }
)
TAKING = frozenset({"remove", "disable", "set_roles"})
"""Changes of a principal that may remove rights."""
PROVEN = frozenset({"emergency_confirm", "emergency_declare"})
"""The operations to which the policy's `emergencies.proof` applies."""
TOLERANCE = 60.0
"""Seconds by which a requester's clock may be ahead if it requests the longest emergency."""
Decide = Callable[[DecisionRequest], Ruling]


class ControlChecks(Struct, frozen=True, kw_only=True):
    """The checks at `now` (Unix seconds).

    `decide` returns the ruling of the rules alone on another request. `settled_at` is the instant by which policy fills
    in parameters: for an approved operation that of its first decision, so that exactly the approved operation starts.
    """

    snapshot: PolicySnapshot
    control: ControlState
    catalogue: Catalogue
    decide: Decide
    now: float
    settled_at: float

    def apply(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Return the ruling on a request that the rules do not deny. Raises Invalid for unknown names."""
        name = request.operation.name
        if name in PEOPLE_ONLY and request.principal.kind != "human":
            reason = f"{name} is for people: {request.principal.id} is of kind {request.principal.kind}"
            return denied_control(ruling, "people_only", reason)
        if name in PROVEN and (lacking := self._lacking_proof(request)):
            return denied_control(ruling, "proof_too_weak", lacking)
        check = CHECKS.get(name)
        return ruling if check is None else check(self, request, ruling)

    def _lacking_proof(self, request: DecisionRequest) -> str:
        """Return why the requester's proof does not suffice for an emergency, or "". Ending an emergency needs no
        proof.
        """
        demanded = self.snapshot.policy.emergency_terms.presence
        ends = request.effective.get("verdict") == "end"
        if ends or request.presence is None or request.presence.meets(demanded):
            return ""
        proof = f"the requester proved {request.presence}"
        return f"policy '{self.snapshot.policy.name}' demands the proof {demanded} for emergencies, and {proof}"

    def lift(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check a lift: its stop must be in force."""
        stop_id = str(request.effective["stop_id"])
        if not any(stop.id == stop_id and stop.lasts(self.now) for stop in self.control.stops):
            raise Invalid(f"no stop {stop_id!r} is in force: `writ stop list`", code="not_found")
        return ruling

    def stop(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check a stop: its reach must name existing things, and it must not end in the past."""
        reach, until = request.effective, request.effective.get("until")
        if until is not None and until <= self.now:
            raise Invalid("the stop would end before it begins", code="invalid_parameters")
        for name in reach.get("operations") or ():
            operation = self.catalogue.get(name)
            if operation is None:
                raise Invalid(f"no operation {name!r} in the catalogue", code="unknown_operation")
            if operation.control or operation.read_only:
                raise Invalid(f"{name} changes no target, so a stop does not apply to it", code="invalid_parameters")
        for name in reach.get("principals") or ():
            if name not in self.snapshot.principals:
                raise Invalid(f"no principal {name!r}", code="no_principal")
        return ruling

    def declare(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check a declaration: within the policy's bound, by a person whose last emergency is over and reviewed."""
        person, terms = self._person(request), self.snapshot.policy.emergency_terms
        until, latest = request.effective["until"], self.settled_at + terms.longest
        if until <= self.now:
            raise Invalid("the emergency would end before it begins", code="invalid_parameters")
        if until > latest + TOLERANCE:
            reason = (
                f"policy '{self.snapshot.policy.name}' allows emergencies of at most {duration_text(terms.longest)}"
            )
            return denied_control(ruling, "too_long", reason)
        if (own := next((one for one in self.control.emergencies if one.person == person), None)) is not None:
            reason = (
                f"{person} declared emergency {own.id}, whose review is not signed off yet: `writ emergency review`"
            )
            return denied_control(ruling, "review_pending", reason)
        starts_by = self.settled_at + min((demand.seconds for demand in ruling.demands), default=0)
        confirm_by = starts_by + terms.confirm_within if self._others("emergency_confirm", person) else None
        settled = {"until": min(until, latest), "declared_by": person, "confirm_by": confirm_by}
        return structs.replace(ruling, effective={**ruling.effective, **settled})

    def confirm(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check an end or confirmation: the emergency must be in force. Any entitled person may end it; only another
        person than its author may confirm it.
        """
        emergency = self._find(request, "is in force", lambda one: one.lasts(self.now))
        if request.effective["verdict"] == "end":
            return ruling
        if emergency.confirmed_by:
            raise Invalid(
                f"emergency {emergency.id} is confirmed already, by {emergency.confirmed_by}", code="conflict"
            )
        if self._is_own(request, emergency):
            return denied_control(
                ruling, "own_emergency", f"{emergency.by} declared it: another person must confirm it"
            )
        return ruling

    def review(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check a review: its emergency must be over. The reviewer must be another person, if another one could review
        it.
        """
        emergency = self._find(request, "waits for its review", lambda one: bool(one.person))
        if emergency.lasts(self.now):
            raise Invalid(f"emergency {emergency.id} is in force: end it first", code="conflict")
        if self._is_own(request, emergency) and self._others("emergency_review", emergency.person):
            return denied_control(ruling, "own_emergency", f"{emergency.by} declared it: another person must review it")
        return ruling

    def manage(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check a change of principals: it must fit the principals in force, and people must still be able to govern
        after it.
        """
        name = str(request.effective["principal_id"])
        replaces = entry_version(self.snapshot.listed.get(name))
        change = msgspec.convert({**request.effective, "replaces": replaces}, PrincipalManage)
        if change.key is not None:
            check_key(change.key)
        before = {**self.snapshot.principals, **self.snapshot.gateways}
        after = changed(before, change)
        if change.action == "add":
            check_new_person(self.snapshot.directory, after[name], before)
        if any(change.key in keys for keys in self.snapshot.agents.values()):
            raise Invalid("this key belongs to an agent: use a new key", code="conflict")
        if change.action in TAKING and (why := self._locked_out_by(after)) is not None:
            return denied_control(ruling, "lock_out", why)
        return structs.replace(ruling, effective={**ruling.effective, "replaces": replaces})

    def window(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check an approval window: within the policy's bounds, for operations whose approval it may replace."""
        observed = self.snapshot.seen_by(request.principal, self.now)
        return check_window(structs.replace(self.snapshot, targets=observed.targets), self.catalogue, request, ruling)

    def end_window(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check the end of a window: it must be open."""
        return check_window_end(self.control, request, ruling, self.now)

    def open_session(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check a session: within the policy's bounds, with a new key."""
        return check_session(self.snapshot, request, ruling, self.now)

    def end_session(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check the end of a session: it must be open."""
        return check_session_end(self.snapshot, request, ruling, self.now)

    def archive(self, request: DecisionRequest, ruling: Ruling) -> Ruling:
        """Check an archive: its range must not contain uses of an open window."""
        check_archive(self.control, request, self.now)
        return ruling

    def _locked_out_by(self, after: Mapping[str, Principal]) -> str | None:
        """Return a governing operation that somebody can do now and nobody could after the change, or ""."""
        policy = self.snapshot.policy
        found = {one.operation: one for one in find_lockouts(policy, _enabled(after), self.now)}
        if not found:
            return None
        before = {one.operation for one in find_lockouts(policy, _enabled(self.snapshot.principals), self.now)}
        new = next((one for operation, one in found.items() if operation not in before), None)
        return None if new is None else f"nobody could carry out {new.operation} any more: {new.why}"

    def _find(self, request: DecisionRequest, text: str, fits: Callable[[Emergency], bool]) -> Emergency:
        emergency_id = str(request.effective["emergency_id"])
        emergency = next((one for one in self.control.emergencies if one.id == emergency_id and fits(one)), None)
        if emergency is None:
            raise Invalid(f"no emergency {emergency_id!r} {text}: `writ emergency list`", code="not_found")
        return emergency

    def _person(self, request: DecisionRequest) -> str:
        return person_of(request.principal.id, self.snapshot.principals)

    def _is_own(self, request: DecisionRequest, emergency: Emergency) -> bool:
        return self._person(request) == emergency.person or same_person(
            request.principal.id, emergency.by, self.snapshot.principals
        )

    def _others(self, operation: str, person: str) -> bool:
        """Return true if the rules let another person do it, with an approval if necessary."""
        known = self.snapshot.principals
        others = [
            one
            for one in known.values()
            if one.kind == "human" and not one.disabled and person_of(one.id, known) != person
        ]
        definition, target = self.catalogue.find(operation), self.snapshot.target("writ")
        parameters = {
            name: value for name, value in PLACEHOLDERS.items() if name in definition.parameters.__struct_fields__
        }
        requests = [
            DecisionRequest(
                operation=definition,
                target=target,
                principal=one,
                parameters=parameters,
                effective=parameters,
                at=self.now,
                own=False,
            )
            for one in others
        ]
        return any(self.decide(one).effect != "deny" for one in requests)


PLACEHOLDERS: Mapping[str, Any] = MappingProxyType(
    {"emergency_id": "any", "verdict": "confirm", "reason": "any", "timeout": 30}
)
CHECKS: Mapping[str, Callable[[ControlChecks, DecisionRequest, Ruling], Ruling]] = MappingProxyType(
    {
        "stop_set": ControlChecks.stop,
        "stop_lift": ControlChecks.lift,
        "emergency_declare": ControlChecks.declare,
        "emergency_confirm": ControlChecks.confirm,
        "emergency_review": ControlChecks.review,
        "principal_manage": ControlChecks.manage,
        "window_request": ControlChecks.window,
        "window_end": ControlChecks.end_window,
        "session_open": ControlChecks.open_session,
        "session_end": ControlChecks.end_session,
        "journal_archive": ControlChecks.archive,
    }
)


def _enabled(principals: Mapping[str, Principal]) -> list[Principal]:
    return [one for one in principals.values() if is_active(one, principals)]
