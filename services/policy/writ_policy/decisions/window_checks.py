"""Checks of requests to open and to end approval windows. The functions are pure."""

from collections.abc import Iterable

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue, Operation, has_operation, not_offered
from writ_contracts.people.persons import same_person
from writ_policy.decisions.control_denial import denied_control
from writ_policy.state.snapshot import PolicySnapshot
from writ_rules.engine.clauses.case import DecisionRequest
from writ_rules.engine.compile import Policy
from writ_rules.engine.control import ControlState
from writ_rules.engine.decisions.ruling import Ruling
from writ_rules.engine.policy_file.approval_windows import ApprovalWindow
from writ_rules.engine.policy_file.times import duration_text


def check_window(snapshot: PolicySnapshot, catalogue: Catalogue, request: DecisionRequest, ruling: Ruling) -> Ruling:
    """Return the ruling on a request for a window; a denial if the policy lets no window replace an approval. Raises
    Invalid for unknown operations and targets.
    """
    window, terms = request.effective, snapshot.policy.window_terms
    if window["seconds"] > terms.longest:
        reason = f"policy '{snapshot.policy.name}' allows approval windows of at most {duration_text(terms.longest)}"
        return denied_control(ruling, "too_long", reason)
    if window["uses"] > terms.most_uses:
        reason = f"policy '{snapshot.policy.name}' allows {terms.most_uses} uses of an approval window at most"
        return denied_control(ruling, "too_many_uses", reason)
    for name in window["operations"]:
        operation = _operation(catalogue, name)
        for target in (snapshot.target(one) for one in window["targets"]):
            if not has_operation(target, operation):
                raise not_offered(target, operation)
            if not _may_stand(snapshot.policy, operation, target):
                reason = f"no rule accepts an approval window for {name} on {target.id}"
                return denied_control(ruling, "no_window", reason)
    if not ruling.demands:
        reason = "the rules that allow this window need no approval, so it would hold none"
        return denied_control(ruling, "no_window", reason)
    return ruling


def _operation(catalogue: Catalogue, name: str) -> Operation:
    operation = catalogue.get(name)
    if operation is None:
        raise Invalid(f"no operation {name!r} in the catalogue", code="unknown_operation")
    if operation.control:
        raise Invalid(f"{name} acts on Writ itself, which no approval window covers", code="invalid_parameters")
    return operation


def _may_stand(policy: Policy, operation: Operation, target: Target) -> bool:
    """Return true if some rule on the operation demands an approval that a window may replace."""
    rules = policy.index.get((operation.name, target.role), ())
    return any(rule.demand is not None and rule.demand.accepts_windows(operation.risk) for rule in rules)


def check_window_end(control: ControlState, request: DecisionRequest, ruling: Ruling, now: float) -> Ruling:
    """Return the ruling on the end of an open window. Raises Invalid."""
    if find_window(control.windows, request.effective, now) is None:
        raise Invalid(
            f"no approval window {request.effective['window_id']!r} is open: `writ window list`", code="not_found"
        )
    return ruling


def find_window(windows: Iterable[ApprovalWindow], parameters: object, now: float) -> ApprovalWindow | None:
    """Return the open window that the parameters of `window_end` name."""
    named = parameters.get("window_id") if isinstance(parameters, dict) else None
    return next((one for one in windows if one.id == named and one.lasts(now)), None)


def is_own_window(
    snapshot: PolicySnapshot, control: ControlState, principal: str, parameters: object, now: float
) -> bool:
    """Return true for an open window that the principal's person requested or approved. That person may always
    end it.
    """
    window = find_window(control.windows, parameters, now)
    people = () if window is None else (window.by, *window.approvers)
    return any(same_person(principal, one, snapshot.principals) for one in people)


def check_archive(control: ControlState, request: DecisionRequest, now: float) -> None:
    """Raise Invalid (`conflict`) if the archive contains events that count the uses of an open window."""
    held = [one for one in control.windows if one.lasts(now) and one.sequence <= request.effective["last"]]
    if held:
        first = min(held, key=lambda one: one.sequence)
        reason = f"approval window {first.id} is open and its uses are counted: archive up to {first.sequence - 1}"
        raise Invalid(reason, code="conflict")
