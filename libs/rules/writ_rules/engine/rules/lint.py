"""Lint single keys: find rules without any effect, and rules with less than they seem to have.

Each check is a generator over one rule, so all findings of a file are reported at once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from writ_rules.engine.clauses.checks import Check, UnanswerableCheck, checks, kind, whole
from writ_rules.engine.clauses.listings import SOURCES
from writ_rules.engine.policy_file.findings import Keys, LintFinding, Severity
from writ_rules.engine.policy_file.format import AttributeConstraint, Constraint, PlacedRule, PolicyDocument, present
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.policy_file.nearest import NearestNames
from writ_rules.engine.rules.window_lint import of_policy, of_rule
from writ_rules.engine.verbs import ANY, Verb

Verbs = Mapping[str, Verb]
LISTS = ("target_roles", "targets", "target_tags", "users", "user_roles", "principal_kinds")
SCALARS = ANY - {"list", "dict"}
FITS = {
    "min": {"int", "float"},
    "max": {"int", "float"},
    "min_length": {"string", "list", "dict"},
    "max_length": {"string", "list", "dict"},
    "pattern": {"string"},
    "allowed_values": SCALARS,
    "denied_values": SCALARS,
    "allowed_items": {"list"},
    "required_items": {"list"},
}
LISTED = {
    "list_services": ("service", "unit"),
    "list_containers": ("container", "guest"),
    "list_guests": ("guest", "container"),
    "list_stacks": ("stack",),
    "list_images": ("image",),
    "list_volumes": ("volume",),
    "list_packages": ("package",),
    "list_backups": ("backup",),
    "list_snapshots": ("snapshot",),
    "list_ports": ("port",),
    "list_storages": ("storage",),
    "list_file_roots": ("path", "source", "folder", "root"),
}
"""The word, in parameter names, for the content of each source."""
OF_KIND = {"text": {"string"}, "number": {"int", "float"}, "truth value": {"bool"}}


def suited(constraint: Constraint | AttributeConstraint, key: str) -> set[str]:
    """Return the types this key of the constraint can judge; for values, those of their own kinds."""
    values = present(getattr(constraint, key)) if key.endswith("_values") else []
    return set[str]().union(*(OF_KIND[kind(value)] for value in values)) if values else set(FITS[key])


def lint(file: PolicyDocument, every: Iterable[PlacedRule], verbs: Verbs) -> list[LintFinding]:
    results = list(_policy(file))
    rule_checks: tuple[Callable[[PlacedRule, Verbs], Iterator[LintFinding]], ...]
    of_operations = (file.policies.groups and file.policies.groups.operations) or {}
    operations = partial(_operations, NearestNames(), of_operations, file.policies.deny_by_default)
    named = operations, partial(_parameters, NearestNames())
    rule_checks = (*named, _items, _lists, _own_role, _approval, _limits, _attributes, _inherit)
    results += of_policy(file.policies)
    for item in every:
        results += of_rule(item, file.policies)
        for check in rule_checks:
            results += check(item, verbs)
    return results


def _policy(file: PolicyDocument) -> Iterator[LintFinding]:
    if file.policies.deny_by_default and not any(item.entry.enabled for item in placed(file.policies)):
        yield LintFinding(Severity.WARNING, ("policies",), "the policy has no rule: everything is denied", at_key=True)
    if not file.policies.deny_by_default:
        keys = ("policies", "deny_by_default")
        yield LintFinding(Severity.WARNING, keys, _open_default(needs_yes=file.policies.require_approval_for_admin))
    if not file.policies.audit_all_operations:
        keys = ("policies", "audit_all_operations")
        yield LintFinding(Severity.WARNING, keys, "this has no effect: everything is recorded")


def _open_default(*, needs_yes: bool) -> str:
    """Return the warning about an open default: its effect, and how to end it."""
    admin = "; operations of risk admin need an approval" if needs_yes else ""
    return (
        "deny_by_default is false: every principal, AI agents included, may run every operation on every target where "
        f"no rule covers the request{admin}. Operations on Writ itself, such as policy_publish, still need a rule. "
        "To allow only what rules allow, remove this line: `writ policy who-can OPERATION` shows who loses what"
    )


def _operations(
    nearest: NearestNames, of_operations: Collection[str], deny_by_default: bool, placed: PlacedRule, verbs: Verbs
) -> Iterator[LintFinding]:
    keys = (*placed.keys, "operations")
    if not present(placed.entry.operations):
        yield LintFinding(Severity.LINT, keys, "an empty list: the rule covers nothing")
    for at, name in enumerate(placed.entry.operations):
        if name is not None and name not in verbs:
            hint = f"; did you mean 'group:{name}'?" if name in of_operations else nearest.hint(name, verbs)
            if any(sign in name for sign in "*?["):
                hint = "; operations are named in full, or in a group under 'groups'"
            # A plugin without it may be installed since: a stored version still loads, and nobody can request it. Under
            # an open default the operation may have another name now, which the rule no longer restricts.
            excused = deny_by_default or not placed.entry.enabled
            yield LintFinding(Severity.LINT, (*keys, at), f"there is no operation '{name}'{hint}", new_only=excused)


def _lists(placed: PlacedRule, _: Verbs) -> Iterator[LintFinding]:
    for key in LISTS:
        if getattr(placed.entry, key) is not None and not present(getattr(placed.entry, key)):
            yield LintFinding(
                Severity.LINT, (*placed.keys, key), f"an empty list covers nobody: leave out '{key}' for all"
            )


def _items(placed: PlacedRule, _: Verbs) -> Iterator[LintFinding]:
    """Yield an error for `allowed_items` and `required_items` of a deny rule, which one item more, or less, evades."""
    for name, constraint in (placed.entry.parameter_constraints or {}).items():
        for key, change in (("allowed_items", "one more item"), ("required_items", "one item less")):
            if not placed.entry.allowed and getattr(constraint, key, None) is not None:
                keys = (*placed.keys, "parameter_constraints", name, key)
                text = f"a deny rule cannot have it, since {change} would evade it: bound the list in allow rules"
                yield LintFinding(Severity.ERROR, keys, text)


def _own_role(placed: PlacedRule, _: Verbs) -> Iterator[LintFinding]:
    """Yield a finding for a rule in one role's section that names other roles: nobody would expect it to
    apply there.
    """
    roles = present(placed.entry.target_roles)
    if placed.role is None or not roles:
        return
    keys = (*placed.keys, "target_roles")
    if foreign := sorted({*roles} - {placed.role}):
        text = f"names {', '.join(foreign)}: a rule under role_policies.{placed.role} is about that role alone"
        yield LintFinding(Severity.ERROR, keys, f"{text}; put it under global_policies, or leave out target_roles")


def _inherit(item: PlacedRule, _: Verbs) -> Iterator[LintFinding]:
    if not item.entry.inherit and item.role != "gateway":
        text = "it has an effect only in rules under role_policies.gateway"
        yield LintFinding(Severity.WARNING, (*item.keys, "inherit"), text)


def _approval(placed: PlacedRule, _: Verbs) -> Iterator[LintFinding]:
    entry = placed.entry
    if not entry.allowed and (entry.requires_approval or entry.approval is not None):
        yield LintFinding(Severity.WARNING, placed.keys, f"'{entry.name}' denies, so an approval has no effect")
    if entry.approval is not None and entry.requires_approval is False:
        yield LintFinding(
            Severity.LINT, placed.keys, f"'{entry.name}' names approvers and has requires_approval: false"
        )
    if entry.emergency_overridable and entry.allowed:
        yield LintFinding(Severity.WARNING, placed.keys, "only a deny can be emergency_overridable")


def _limits(placed: PlacedRule, _: Verbs) -> Iterator[LintFinding]:
    for key in ("max_targets", "max_concurrent", "operation_timeout"):
        if getattr(placed.entry, key) is not None and not placed.entry.allowed:
            severity = Severity.WARNING if key == "operation_timeout" else Severity.LINT
            yield LintFinding(severity, (*placed.keys, key), f"'{placed.entry.name}' denies, so a limit has no effect")
    timeout = (placed.entry.parameter_constraints or {}).get("timeout")
    most = placed.entry.operation_timeout
    if most is None or timeout is None:
        return
    listed = [each for each in timeout.allowed_values or () if isinstance(each, int | float)]
    known = ((timeout.min, "min"), (min(listed, default=None), "allowed_values"))
    least, key = max(((each, key) for each, key in known if each is not None), default=(0, ""))
    if most < least:
        text = f"ends every operation sooner than the {least} s that timeout.{key} requires"
        yield LintFinding(Severity.WARNING, (*placed.keys, "operation_timeout"), text)


def _attributes(placed: PlacedRule, _: Verbs) -> Iterator[LintFinding]:
    for name, constraint in (placed.entry.target_attributes or {}).items():
        keys = (*placed.keys, "target_attributes", name)
        if isinstance(constraint, list) and not present(constraint):
            yield LintFinding(Severity.LINT, keys, "an empty list: no value matches")
        elif isinstance(constraint, AttributeConstraint):
            yield from _ranges(keys, constraint)
            if why := _excludes_all(constraint):
                yield LintFinding(Severity.LINT, keys, f"{why}: no value matches")
                continue
        yield from _mixed(keys, constraint)


def _mixed(keys: Keys, constraint: Any) -> Iterator[LintFinding]:
    """Yield warnings for values of several kinds: no value of one kind equals one of another."""
    lists: dict[Keys, Any] = {(): constraint} if isinstance(constraint, list) else {}
    if isinstance(constraint, AttributeConstraint):
        lists = {(key,): getattr(constraint, key) for key in ("allowed_values", "denied_values")}
    for key, values in lists.items():
        kinds = sorted({kind(value) for value in present(values)})
        if len(kinds) > 1:
            text = f"has values of several kinds ({', '.join(kinds)}): '1' is not equal to 1, nor 'true' to true"
            yield LintFinding(Severity.WARNING, (*keys, *key), text)


def _excludes_all(constraint: AttributeConstraint) -> str:
    """Return the reason why no value of an attribute can pass, besides an inverted range; empty if one can."""
    named = [
        key for key in FITS if getattr(constraint, key, None) is not None and not suited(constraint, key) >= SCALARS
    ]
    types = SCALARS.intersection(*(suited(constraint, key) for key in named))
    if constraint.type is not None:
        types &= {"int", "float"} if constraint.type == "float" else {constraint.type}
        named.insert(0, f"type {constraint.type}")
    if not types:
        return f"{', '.join(named)} do not fit the same type"
    if constraint.allowed_values is not None and not present(constraint.allowed_values):
        return "allowed_values is an empty list"
    if constraint.allowed_values is None:
        return ""
    try:
        required_checks = checks(constraint, deny=False)
    except ValueError:
        return ""  # the pattern is no pattern, which is an error of its own
    possible = any(
        all(_holds(check, value) for check in required_checks) for value in present(constraint.allowed_values)
    )
    return "" if possible else "each of allowed_values is excluded by the rest"


def _parameters(nearest: NearestNames, placed: PlacedRule, verbs: Verbs) -> Iterator[LintFinding]:
    named = present(placed.entry.operations)
    having = [verbs[name] for name in named if name in verbs]
    complete = 0 < len(having) == len(named)  # an unknown operation, which has a finding of its own, may have any
    known = sorted({parameter for verb in having for parameter in verb.types})
    for name, constraint in (placed.entry.parameter_constraints or {}).items():
        keys = (*placed.keys, "parameter_constraints", name)
        if name not in known and complete:
            # The constraint counts as absent: an allow rule permits what it should exclude, a deny rule denies more.
            permits = placed.entry.allowed and placed.entry.enabled
            more = f", so '{placed.entry.name}' allows any value" if permits else ""
            text = f"no operation of the rule has the parameter '{name}'{more}{nearest.hint(name, known)}"
            severity = Severity.LINT if permits else Severity.WARNING
            yield LintFinding(severity, keys, text, at_key=True, new_only=True)
        elif name in known and constraint is not None:
            yield from _contradictions(nearest, keys, constraint)
            for verb in having:
                if name in verb.types:
                    yield from _constraint(keys, name, constraint, verb)


def _contradictions(nearest: NearestNames, keys: Keys, constraint: Constraint) -> Iterator[LintFinding]:
    yield from _ranges(keys, constraint)
    source = constraint.allowlist_source
    if source is not None and source not in SOURCES:
        hint = nearest.hint(source, SOURCES)
        text = f"targets have no list '{source}', so the rule denies all requests that it covers{hint}"
        yield LintFinding(Severity.WARNING, (*keys, "allowlist_source"), text)
    elif source is None and constraint.max_age is not None:
        yield LintFinding(
            Severity.WARNING, (*keys, "max_age"), "it is the age of a list: without allowlist_source it has no effect"
        )


def _ranges(keys: Keys, constraint: Constraint | AttributeConstraint) -> Iterator[LintFinding]:
    for low, high in (("min", "max"), ("min_length", "max_length")):
        least, most = getattr(constraint, low), getattr(constraint, high)
        if least is not None and most is not None and least > most:
            yield LintFinding(Severity.LINT, keys, f"{low} {least} is above {high} {most}: the rule never matches")


def _constraint(keys: Keys, name: str, constraint: Constraint, verb: Verb) -> Iterator[LintFinding]:
    types, what = verb.types[name], f"{verb.operation.name}.{name}"
    for key in FITS:
        if getattr(constraint, key) is not None and not types & suited(constraint, key):
            yield LintFinding(
                Severity.LINT, (*keys, key), f"{what} is of type {_type_names(types)}, which '{key}' can't judge"
            )
    yield from _impossible_values(keys, name, constraint, verb)
    source = constraint.allowlist_source
    named = LISTED.get(source or "", ())
    if named and not any(word in name for word in named):
        text = f"'{source}' lists no {name.replace('_', ' ')}: it lists {named[0].replace('_', ' ')}s"
        yield LintFinding(Severity.WARNING, (*keys, "allowlist_source"), text)
    type_names = {"int", "float"} if constraint.type == "float" else {constraint.type}
    if constraint.type is not None and not types & type_names:
        yield LintFinding(
            Severity.LINT, (*keys, "type"), f"{what} is of type {_type_names(types)}: the rule never matches"
        )
    if constraint.default is not None:
        yield from _default((*keys, "default"), name, constraint, verb)


def _impossible_values(keys: Keys, name: str, constraint: Constraint, verb: Verb) -> Iterator[LintFinding]:
    """Yield findings for values no request can have; if all are such, the rule never matches."""
    for key in ("allowed_values", "denied_values"):
        values = getattr(constraint, key) or ()
        if not verb.types[name] & suited(constraint, key):
            continue  # one finding says that none of them is of its type
        bounds = ((at, whole(value)) for at, value in enumerate(values) if value is not None)
        refused = {at: why for at, value in bounds if (why := verb.refuses(name, value))}
        if key == "denied_values" or len(refused) < len(present(values)):
            for at, why in refused.items():
                text = f"{verb.operation.name}.{name}{why}"
                yield LintFinding(Severity.WARNING, (*keys, key, at), text)
    for key, severity in (("allowed_items", Severity.WARNING), ("required_items", Severity.LINT)):
        for at, item in enumerate(getattr(constraint, key) or ()):
            if "list" in verb.types[name] and item is not None and (why := verb.refuses(name, [item])):
                text = f"{verb.operation.name}.{name} can't have this item: {name}{why}"
                yield LintFinding(severity, (*keys, key, at), text)


def _default(keys: Keys, name: str, constraint: Constraint, verb: Verb) -> Iterator[LintFinding]:
    refusal = verb.refuses(name, constraint.default)
    if refusal is not None:
        yield LintFinding(Severity.LINT, keys, f"{verb.operation.name}.{name}{refusal}")
        return
    try:
        broken = [check for check in checks(constraint, deny=False) if _breaks(check, constraint.default)]
    except ValueError:
        return  # the pattern is no pattern, which is an error of its own
    for check in broken:
        yield LintFinding(Severity.LINT, keys, f"the default itself breaks {check.clause} ({check.expected})")


def _holds(check: Check, value: Any) -> bool:
    try:
        return check.holds(value)
    except UnanswerableCheck:
        return False


def _breaks(check: Check, default: Any) -> bool:
    """Return whether the default certainly fails; a check unable to judge the parameter's type has a finding of its
    own.
    """
    try:
        return not check.holds(default)
    except UnanswerableCheck:
        return False


def _type_names(types: Iterable[str]) -> str:
    return " or ".join(sorted(types))
