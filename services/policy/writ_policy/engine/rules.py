"""One rule, made ready: its scope and conditions as clauses, its demands, its limits."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.json import encode

from writ_contracts.decisions import Effect
from writ_policy.engine import clauses, times
from writ_policy.engine.checks import Check, checks
from writ_policy.engine.clauses import Clause, Parameter, listed
from writ_policy.engine.findings import Finding, Keys, Severity
from writ_policy.engine.format import ApprovalEntry, Constraint, Placed, RuleEntry, present
from writ_policy.engine.patterns import glob
from writ_policy.engine.verbs import Verb

APPROVER, APPROVAL_MINUTES = "approver", 60
NEVER, EVER = float("-inf"), float("inf")
Made = TypeVar("Made")


class Demand(Struct, frozen=True):
    """Who must say yes: `quorum` people of these roles, within `seconds`. `rule` asks for it."""

    rule: str
    approvers: tuple[str, ...]
    quorum: int
    seconds: int

    def __str__(self) -> str:
        people = f"{self.quorum} of" if self.quorum > 1 else "one of"
        return f"'{self.rule}' asks for {people} role {' or '.join(self.approvers)} within {self.seconds // 60} min"


ADMIN_DEMAND = Demand("require_approval_for_admin", (APPROVER,), 1, APPROVAL_MINUTES * 60)


class Rule(Struct, frozen=True, eq=False, kw_only=True):
    """A rule in force. `people` are the clauses of its scope that ask about the principal alone, `scope` the others.
    `conditions` and `defaults` are by operation, since only parameters that it has bind it.
    """

    name: str
    section: str
    description: str
    effect: Effect
    operations: tuple[str, ...]
    roles: frozenset[str] | None
    inherited: bool
    people: tuple[Clause, ...]
    scope: tuple[Clause, ...]
    times: clauses.Times | None
    conditions: Mapping[str, tuple[Clause, ...]]
    defaults: Mapping[str, Mapping[str, Any]]
    demand: Demand | None
    timeout: int | None


class Workshop:
    """Makes rules of entries, and notes what is wrong with them."""

    def __init__(self, verbs: Mapping[str, Verb]) -> None:
        self.verbs = verbs
        self.findings: list[Finding] = []
        self._shared: dict[bytes, Any] = {}

    def rule(self, placed: Placed) -> Rule:
        """The rule; what can't be made of it is in `findings` as an error, and the rule is not to be used."""
        entry = placed.entry
        operations = tuple(dict.fromkeys(name for name in present(entry.operations) if name in self.verbs))
        window = self._times(placed)
        parameters = self._parameters(placed)
        return Rule(
            name=entry.name,
            section=placed.section,
            description=entry.description,
            effect=_effect(entry),
            operations=operations,
            roles=_roles(placed),
            inherited=placed.role == "gateway" and entry.inherit,
            people=_people(entry),
            scope=self._scope(placed),
            times=window,
            conditions={name: self._conditions(name, window, parameters, entry) for name in operations},
            defaults={name: _defaults(self.verbs[name], parameters) for name in operations},
            demand=self._demand(placed),
            timeout=entry.operation_timeout,
        )

    def _scope(self, placed: Placed) -> tuple[Clause, ...]:
        entry, found = placed.entry, list[Clause]()
        if entry.effective_from is not None or entry.expires_at is not None:
            found.append(self.in_effect(placed.keys, entry.effective_from, entry.expires_at))
        if entry.targets is not None:
            found.append(_targets(present(entry.targets)))
        if entry.target_tags is not None:
            found.append(clauses.Tags(frozenset(present(entry.target_tags)), listed(present(entry.target_tags))))
        return tuple(found)

    def in_effect(self, keys: Keys, since: str | None, until: str | None) -> clauses.InEffect:
        """The time between two keys of an entry, either of which may be absent."""
        first = self._try((*keys, "effective_from"), NEVER, times.instant, since)
        last = self._try((*keys, "expires_at"), EVER, times.instant, until)
        text = " ".join([f"from {since}" if since else "", f"until {until}" if until else ""]).strip()
        return clauses.InEffect(first, last, text)

    def _times(self, placed: Placed) -> clauses.Times | None:
        entries = placed.entry.time_restrictions or ()
        made = [
            self._try((*placed.keys, "time_restrictions", at), None, times.window, entry)
            for at, entry in enumerate(entries)
        ]
        windows = tuple(window for window in made if window is not None)
        text = " or ".join(map(str, windows))
        return self._share(["times", text], clauses.Times(windows, text[:300])) if windows else None

    def _parameters(self, placed: Placed) -> list[Parameter]:
        found = []
        deny = not placed.entry.allowed
        for name, constraint in (placed.entry.parameter_constraints or {}).items():
            constraint = constraint or Constraint()
            keys = (*placed.keys, "parameter_constraints", name, "pattern")
            made = self._try(keys, tuple[Check, ...](), lambda entry: checks(entry, deny=deny), constraint)
            parameter = Parameter(name, constraint.default, constraint.required, made)
            found.append(self._share(["parameter", name, deny, constraint], parameter))
        return found

    def _share(self, what: object, clause: Made) -> Made:
        """The clause that another rule already has for the same words, if there is one."""
        shared: Made = self._shared.setdefault(encode(what, order="sorted"), clause)
        return shared

    def _conditions(
        self, operation: str, window: clauses.Times | None, parameters: Iterable[Parameter], entry: RuleEntry
    ) -> tuple[Clause, ...]:
        has = self.verbs[operation].types
        found: list[Clause] = [window] if window else []
        found += [parameter for parameter in parameters if parameter.name in has]
        return (*found, *_unevaluated(entry))

    def _demand(self, placed: Placed) -> Demand | None:
        entry = placed.entry
        if _effect(entry) != "require_approval":
            return None
        approval = entry.approval or ApprovalEntry()
        keys = (*placed.keys, "approval", "timeout")
        minutes = (entry.approval_timeout or APPROVAL_MINUTES) * 60
        seconds = self._try(keys, minutes, times.duration, approval.timeout)
        approvers = [role for step in (approval, *present(approval.steps)) for role in present(step.approvers)]
        return Demand(entry.name, tuple(approvers or [APPROVER]), approval.quorum, seconds)

    def _try(self, keys: Keys, otherwise: Made, make: Callable[[Any], Made], value: Any) -> Made:
        """`make(value)`; for None `otherwise`, and for a bad value too, which is noted as an error."""
        if value is None:
            return otherwise
        try:
            return make(value)
        except ValueError as error:
            self.findings.append(Finding(Severity.ERROR, keys, str(error)))
            return otherwise


def _effect(entry: RuleEntry) -> Effect:
    if not entry.allowed:
        return "deny"
    return "require_approval" if entry.requires_approval or entry.approval is not None else "allow"


def _roles(placed: Placed) -> frozenset[str] | None:
    if placed.entry.target_roles is not None:
        return frozenset(present(placed.entry.target_roles))
    return None if placed.role is None else frozenset({placed.role})


def _people(entry: RuleEntry) -> tuple[Clause, ...]:
    found: list[Clause] = []
    if entry.users is not None:
        found.append(clauses.Users(frozenset(present(entry.users)), listed(present(entry.users))))
    if entry.user_roles is not None:
        found.append(clauses.UserRoles(frozenset(present(entry.user_roles)), listed(present(entry.user_roles))))
    if entry.principal_kinds is not None:
        kinds = present(entry.principal_kinds)
        found.append(clauses.Kinds(frozenset(kinds), listed(kinds)))
    return tuple(found)


def _targets(ids: list[str]) -> clauses.Targets:
    globs = [text for text in ids if "*" in text or "?" in text]
    return clauses.Targets(frozenset(ids) - frozenset(globs), tuple(glob(text) for text in globs), listed(ids))


def _defaults(verb: Verb, parameters: Iterable[Parameter]) -> dict[str, Any]:
    return {each.name: each.default for each in parameters if each.default is not None and each.name in verb.types}


def _unevaluated(entry: RuleEntry) -> list[Clause]:
    found: list[Clause] = []
    if entry.maintenance_windows_only:
        found.append(clauses.Unevaluated("maintenance_windows_only", "inside a maintenance window"))
    if entry.max_targets is not None:
        found.append(clauses.Unevaluated("max_targets", f"at most {entry.max_targets} targets"))
    if entry.max_concurrent is not None:
        found.append(clauses.Unevaluated("max_concurrent", f"at most {entry.max_concurrent} at once"))
    return found
