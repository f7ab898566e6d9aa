"""The comparison of a recorded decision with the one that the policy gives. No I/O.

The record lacks hidden parameters and the content of listings and reports. A decision that depends on them is compared
as far as it can be: with the facts that would allow the most.
"""

import traceback
from collections.abc import Awaitable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Literal

from msgspec import Struct, structs

from writ_contracts.catalogue.control import FOR_PEOPLE
from writ_contracts.catalogue.sessions import FOR_OWN_KEY
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, WritError
from writ_contracts.inventory import Target
from writ_contracts.operations import Operation, Risk
from writ_contracts.people.persons import person_of
from writ_contracts.people.principal_changes import is_active
from writ_rules.analysis.assumed_facts import facts, suppositions
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.clauses.conditions import Condition, ParameterCondition
from writ_rules.engine.compile import Policy
from writ_rules.engine.decide import Ruling, decide
from writ_rules.engine.decisions.ruling import STRICTNESS
from writ_rules.engine.facts import NO_FACTS
from writ_rules.engine.rules.rule import Rule
from writ_rules.second_decisions.added_parameters import differing, unexplained
from writ_rules.second_decisions.signatures import DecidedRequest, is_persons, is_signed, keys_of, unsigned
from writ_rules.setting import Setting

Result = Literal["same", "differs", "open"]
OWN = ("audit_read", "operation_cancel", "session_end", "window_end")
OPEN_TO_ALL = "session_open"
"""Operations that everybody may request without a rule: opening a session of one's own."""
OTHER_REASONS = ("by its other name", "session ", "a session ")
"""Beginnings of the reasons of denials with such a code that are checks of policy's own."""
BY_RULES = frozenset({"denied", "no_rule", "outside_gateway_limits", "stopped"})
"""Codes of denials that the policy and the control state give by themselves."""

UNFORESEEN = "its check failed by an error in Writ"


class Comparison(Struct, frozen=True, kw_only=True):
    """The result: `expected` is the decision that policy gives, `why` the difference, or what is missing."""

    result: Result
    expected: str = ""
    why: str = ""


async def or_open(comparison: Awaitable[Comparison]) -> Comparison:
    """Return the comparison, or an open one after an error that nobody foresaw. Raises WritError."""
    try:
        return await comparison
    except WritError:
        raise
    except Exception as error:  # noqa: BLE001 - a record that its writer made to break the check must not end it
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Comparison(result="open", why=f"{UNFORESEEN}: {type(error).__name__} in {where.name}")


def compare(decision: Decision, recorded: DecidedRequest, setting: Setting, *, knows_keys: bool = True) -> Comparison:
    """Return whether the policy gives this decision. `setting`: policy, files and control state of that time.
    `knows_keys`: the principals' keys of that time are known; else any will do.
    """
    if decision.effect not in STRICTNESS:
        return Comparison(result="open", why=f"the effect {decision.effect!r} is of a newer release")
    operation = setting.catalogue.get(decision.operation)
    if operation is None:
        return Comparison(result="open", why=f"{decision.operation} is not installed here")
    if decision.code == "own" and operation.name in OWN:
        return Comparison(result="open", why="it is on something of the principal's own")
    if decision.effect != "deny" and (why := _refused(decision, operation, setting)):
        return Comparison(result="differs", expected="deny", why=why)
    target = setting.targets.get(decision.target)
    if target is None or decision.principal not in setting.principals:
        return Comparison(result="open", why="it is a denial of an unknown name")
    keys = partial(_keys, setting) if knows_keys else _any_key
    own = knows_keys and operation.name in FOR_OWN_KEY
    signers = (setting.principals[decision.principal].key,) if own else keys(decision.principal)
    if decision.effect != "deny" and (why := unsigned(decision, recorded, signers)):
        return Comparison(result="differs", why=why)
    if recorded.parameters_digest not in ("", decision.parameters_digest):
        return Comparison(result="differs", why="it is on other parameters than its request, and the record hides it")
    approvers = dict.fromkeys(
        one.approver
        for one in recorded.approvals
        if one.approver in setting.principals
        and is_signed(one, recorded, keys(one.approver), decision.operation_id)
        and is_persons(one, recorded, person_of(one.approver, setting.principals))
    )
    try:
        request = _request(decision, recorded, setting, operation, target)
    except Invalid as error:
        return Comparison(result="open", why=f"its parameters are of another release: {error}")
    return _judged(decision, recorded, setting, structs.replace(request, approvals=tuple(approvers)))


def _refused(decision: Decision, operation: Operation, setting: Setting) -> str:
    """Return why the request is refused whatever the rules say, or ""."""
    principal = setting.principals.get(decision.principal)
    if principal is None:
        return f"there was no principal {decision.principal}"
    if not is_active(principal, setting.principals):
        return f"principal {decision.principal} was disabled"
    if decision.target not in setting.targets:
        return f"there was no target {decision.target}"
    if operation.name in FOR_PEOPLE and decision.authenticated == "gateway":
        return f"{operation.name} is for people, and the request came through a gateway"
    if operation.name in FOR_OWN_KEY and decision.session:
        return f"{operation.name} needs the principal's own key, and it came by session {decision.session}"
    needs_signature = operation.own_signature or operation.risk is Risk.ADMIN
    if needs_signature and decision.authenticated != "signature" and decision.effect == "allow":
        return f"{operation.name} needs the principal's own signature"
    return ""


def _request(
    decision: Decision, recorded: DecidedRequest, setting: Setting, operation: Operation, target: Target
) -> DecisionRequest:
    """Raises Invalid where the recorded parameters are none of the operation's."""
    effective = dict(recorded.effective) if recorded.hidden else operation.check(recorded.parameters)
    return DecisionRequest(
        operation=operation,
        target=target,
        principal=setting.principals[decision.principal],
        parameters={name: effective[name] for name in recorded.parameters if name in effective},
        effective=effective,
        at=decision.at,
        person=person_of(decision.principal, setting.principals),
    )


def _keys(setting: Setting, principal: str) -> tuple[str, ...]:
    return keys_of(setting.principals[principal], setting.control)


def _any_key(_: str) -> tuple[str, ...]:
    return ()


def _judged(decision: Decision, recorded: DecidedRequest, setting: Setting, request: DecisionRequest) -> Comparison:
    rules = _rules(setting.policy, request)
    if decision.effect != "deny" and (names := unexplained(recorded, request.operation, rules)):
        return Comparison(result="differs", why=f"its {', '.join(names)} was not requested")
    if _of_parameters(rules, request.operation.name) & recorded.hidden:
        return Comparison(result="open", why="it depends on parameters that are not on record")
    ruling = decide(setting.policy, request, setting.control, setting.people)
    if request.operation.name == OPEN_TO_ALL and ruling.code == "no_rule":
        ruling = structs.replace(ruling, effect="allow", code="own")
    asks_facts = any(rule.asks_facts for rule in rules)
    if asks_facts:
        ruling = min(_with_facts(setting, request, rules), key=lambda one: STRICTNESS[one.effect])
    if _is_more(decision, ruling):
        return Comparison(result="differs", expected=_shown(ruling), why=ruling.reason)
    whole = not asks_facts and not recorded.hidden
    if decision.effect != "deny" and whole and (names := differing(recorded, request.operation, ruling.effective)):
        return Comparison(result="differs", why=f"the policy gives another {', '.join(names)}")
    if asks_facts:
        return Comparison(result="open", why="it depends on facts that are not on record")
    by_rules = decision.code in BY_RULES and not decision.reason.startswith(OTHER_REASONS)
    if ruling.effect == "allow" and decision.effect == "deny" and by_rules:
        return Comparison(result="differs", expected=_shown(ruling), why=ruling.reason)
    return Comparison(result="same", expected=_shown(ruling))


def _is_more(decision: Decision, ruling: Ruling) -> bool:
    """Return whether the decision permits more than the ruling."""
    if STRICTNESS[decision.effect] != STRICTNESS[ruling.effect]:
        return STRICTNESS[decision.effect] < STRICTNESS[ruling.effect]
    return decision.effect != "deny" and not set(ruling.limits) <= set(decision.limits)


def _rules(policy: Policy, request: DecisionRequest) -> list[Rule]:
    place, name = (request.operation.name, request.target.role), request.operation.name
    return [*policy.index.get(place, ()), *policy.inherited.get(name, ()), *policy.urgent.get(place, ())]


def _of_parameters(rules: Iterable[Rule], operation: str) -> set[str]:
    return {one.name for one in _conditions(rules, operation) if isinstance(one, ParameterCondition)}


def _conditions(rules: Iterable[Rule], operation: str) -> Iterator[Condition]:
    return chain.from_iterable(rule.conditions[operation] for rule in rules)


def _with_facts(setting: Setting, request: DecisionRequest, rules: list[Rule]) -> list[Ruling]:
    """Return the rulings with every combination of facts that makes a difference, and without any."""

    def ruled(known: Any) -> Ruling:
        return decide(setting.policy, request, setting.control, setting.people, known)

    assumed, _ = suppositions(rules, request.operation.name, lambda one: ruled(facts(one, request)).effect)
    return [ruled(NO_FACTS), *(ruled(facts(one, request)) for one in assumed)]


def _shown(ruling: Ruling) -> str:
    return f"{ruling.effect} ({ruling.code})"
