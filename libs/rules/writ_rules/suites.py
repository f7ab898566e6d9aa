"""Cases of a policy as data: callers × targets × operations × parameters × instants, and the expected decision of each.

A suite is a file `*_test.yaml` beside its policy. Each name in it (callers, targets, operations, rules) must exist, or
the suite is refused with the position of each mistake: a case which tests nothing would always pass.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from writ_contracts.ids import PrincipalId
from writ_contracts.inventory import Attribute, Kind, Name, Principal, Target
from writ_contracts.nearest_name import near
from writ_contracts.policy.facts import LISTING_SOURCES
from writ_contracts.policy.questions import SuppliedFacts
from writ_documents import shapes
from writ_documents.document import Document, FileErrors, FileProblem, Keys
from writ_documents.readers import NOBODYS_KEY, read_inventory, read_people
from writ_rules.coverage import rule_places
from writ_rules.engine.facts import NO_FACTS
from writ_rules.engine.policy_file.format import ApprovalEntry
from writ_rules.engine.policy_file.times import duration, instant
from writ_rules.engine.rules.obligations import ADMIN_DEMAND, APPROVAL_MINUTES, Demand
from writ_rules.engine.rules.rule import presence_of, steps_of
from writ_rules.setting import AccessQuestion, PolicySource, Setting
from writ_rules.supplied_facts import facts_of

NonEmptyText = Annotated[str, Meta(min_length=1)]
NonEmptyTexts = Annotated[list[NonEmptyText], Meta(min_length=1)]
Expected = Literal["allow", "deny", "require_approval", "invalid"]
SUFFIXES = ("_test.yaml", "_test.yml", "_test.json")
NOUNS = {
    "callers": "principal",
    "targets": "target",
    "operations": "operation",
    "rules": "enabled rule",
    "approvals": "principal",
}
MOST_CASES = 100_000
"""Upper limit of the combinations of one suite; more are a mistake, or an attack."""


class CaseEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The expected decision of every combination of callers, targets, operations, parameters and instants.

    `rules` are all deciding rules, `code` is the decision's code. Either may be left out, as may the terms of an allow:
    its `timeout`, its `demands` and `limits` by rule, and some of the `effective` parameters. `now` is the suite's
    unless the case has its own. `emergency`: one is in force here. `approvals`: the approvers, in order.
    """

    name: NonEmptyText
    callers: NonEmptyTexts
    targets: NonEmptyTexts
    operations: NonEmptyTexts
    decision: Expected
    rules: list[NonEmptyText] | None = None
    code: str | None = None
    timeout: int | None = None
    demands: dict[NonEmptyText, ApprovalEntry] | None = None
    limits: dict[NonEmptyText, dict[Literal["max_targets", "max_concurrent"], int]] | None = None
    effective: dict[str, Any] | None = None
    parameters: dict[str, Any] | list[dict[str, Any]] = field(default_factory=dict)
    now: str | list[str] | None = None
    dry_run: bool = False
    emergency: bool = False
    approvals: list[NonEmptyText] = field(default_factory=list)
    facts: SuppliedFacts | None = None


class CasePrincipal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A principal of the cases alone, so without a key."""

    id: PrincipalId
    kind: Kind
    roles: list[Name] = field(default_factory=list)
    acts_for: PrincipalId | None = None
    attributes: dict[str, Attribute] = field(default_factory=dict)


class SuiteEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. Paths are relative to it; `now` is an ISO 8601 instant with its offset.

    Targets and principals are those of files, or defined here for the cases.
    """

    policy: NonEmptyText
    inventory: NonEmptyText | list[Target]
    principals: NonEmptyText | list[CasePrincipal]
    now: str
    cases: Annotated[list[CaseEntry], Meta(min_length=1)]
    description: str = ""


class SuiteCase(Struct, frozen=True, kw_only=True):
    """One combination, ready to be decided. `terms`: the expected terms of an allow. `place`: its position."""

    name: str
    title: str
    question: AccessQuestion
    decision: Expected
    rules: list[str] | None
    code: str | None
    place: FileProblem
    terms: Mapping[str, Any] = field(default_factory=dict)


def suite_of(document: Document) -> SuiteEntry:
    """Return the suite in a document. Raises FileErrors."""
    return shapes.convert(document, SuiteEntry)


def is_suite(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def suites_in(folder: Path) -> list[Path]:
    """Return all suites below a folder, in order."""
    return sorted(path for path in folder.rglob("*_test.*") if is_suite(path) and path.is_file())


def default_suite_path(policy: Path) -> Path:
    return policy.with_name(f"{policy.stem}_test{policy.suffix}")


def sibling_path(suite: Path, named: str) -> Path:
    """Return the path of a file named by a suite."""
    return suite.parent / named


def targets_of(suite: Path, entry: SuiteEntry) -> list[Target]:
    """Return the targets of a suite. Raises ConfigError."""
    if isinstance(entry.inventory, str):
        return read_inventory(sibling_path(suite, entry.inventory)).targets
    return entry.inventory


def principals_of(suite: Path, entry: SuiteEntry) -> list[Principal]:
    """Return the principals of a suite. Raises ConfigError."""
    if isinstance(entry.principals, str):
        return read_people(sibling_path(suite, entry.principals)).principals
    return [
        Principal(
            id=one.id, kind=one.kind, key=NOBODYS_KEY, roles=one.roles, acts_for=one.acts_for, attributes=one.attributes
        )
        for one in entry.principals
    ]


def cases_of(document: Document, suite: SuiteEntry, source: PolicySource, setting: Setting) -> list[SuiteCase]:
    """Return all combinations of all cases. Raises FileErrors with the position of each unknown name."""
    problems: list[FileProblem] = []
    rules = {place.rule for place in rule_places(source)}
    known: Mapping[str, Iterable[str]] = {
        "callers": setting.principals,
        "targets": setting.targets,
        "operations": setting.catalogue,
        "rules": rules,
        "approvals": setting.principals,
    }
    cases: list[SuiteCase] = []
    for at, entry in enumerate(suite.cases):
        keys: Keys = ("cases", at)
        problems += [*_unknown(document, keys, entry, known), *_unknown_keys(document, keys, entry, rules)]
        terms = _terms(document, keys, entry, problems)
        instants = list(_instants(document, keys, entry, suite, problems))
        try:
            cases += _combined(entry, instants, terms, document.problem(keys, entry.name))
        except ValueError as error:
            problems.append(document.problem((*keys, "facts"), str(error)))
        if len(cases) > MOST_CASES:
            problems.append(document.problem(keys, f"more than {MOST_CASES} combinations in one suite"))
            break
    if problems:
        raise FileErrors(*sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return cases


def _unknown(
    document: Document, keys: Keys, entry: CaseEntry, known: Mapping[str, Iterable[str]]
) -> Iterator[FileProblem]:
    for key, names in known.items():
        for at, name in enumerate(getattr(entry, key) or ()):
            # The names of an expected `invalid` request need not exist.
            if name not in names and (entry.decision != "invalid" or key == "rules"):
                yield document.problem((*keys, key, at), f"there is no {NOUNS[key]} '{name}'{near(name, names)}")


def _unknown_keys(document: Document, keys: Keys, entry: CaseEntry, rules: Iterable[str]) -> Iterator[FileProblem]:
    """Yield the unknown rules of demands and limits, and the unknown lists of facts."""
    listings = () if entry.facts is None else entry.facts.listings
    for place, noun, given, known in (
        (("demands",), "enabled rule", entry.demands or (), {*rules, ADMIN_DEMAND.rule}),
        (("limits",), "enabled rule", entry.limits or (), rules),
        (("facts", "listings"), "list", listings, LISTING_SOURCES),
    ):
        for name in given:
            if name not in known:
                text = f"there is no {noun} '{name}'{near(name, known)}"
                yield document.problem((*keys, *place, name), text, at_key=True)


def _instants(
    document: Document, keys: Keys, entry: CaseEntry, suite: SuiteEntry, problems: list[FileProblem]
) -> Iterator[tuple[str, float]]:
    for at, text in enumerate(_listed(entry.now) or [suite.now]):
        try:
            yield text, instant(text)
        except ValueError as error:
            place: Keys = ("now",) if entry.now is None else (*keys, "now")
            problem = document.problem((*place, at) if isinstance(entry.now, list) else place, str(error))
            if problem not in problems:
                problems.append(problem)


def _combined(
    entry: CaseEntry, instants: list[tuple[str, float]], terms: Mapping[str, Any], place: FileProblem
) -> Iterator[SuiteCase]:
    sets = _listed(entry.parameters)
    matrix = product(entry.callers, entry.targets, entry.operations, enumerate(sets), instants)
    for caller, target, operation, (number, parameters), (text, at) in matrix:
        more = f", parameters {number + 1}" if len(sets) > 1 else ""
        more += f", {text}" if len(instants) > 1 else ""
        yield SuiteCase(
            name=entry.name,
            title=f"{entry.name} ({caller} {operation} {target}{more})",
            question=AccessQuestion(
                principal=caller,
                operation=operation,
                target=target,
                at=at,
                parameters=parameters,
                dry_run=entry.dry_run,
                approvals=tuple(entry.approvals),
                emergency=entry.emergency,
                facts=NO_FACTS if entry.facts is None else facts_of(entry.facts, target, at),
            ),
            decision=entry.decision,
            rules=None if entry.rules is None else sorted(entry.rules),
            code=entry.code,
            place=place,
            terms=terms,
        )


def _terms(document: Document, keys: Keys, entry: CaseEntry, problems: list[FileProblem]) -> dict[str, Any]:
    """Return the expected terms; a bad time of a demand is added to the problems."""
    terms = {"timeout": entry.timeout, "limits": entry.limits, "effective": entry.effective}
    demands: dict[str, str] = {}
    for rule, one in (entry.demands or {}).items():
        try:
            seconds = APPROVAL_MINUTES * 60 if one.timeout is None else duration(one.timeout)
        except ValueError as error:
            problems.append(document.problem((*keys, "demands", rule, "timeout"), str(error)))
            continue
        demands[rule] = Demand(rule, steps_of(one), seconds, presence_of(one), one.windows).terms
    terms["demands"] = None if entry.demands is None else demands
    return {name: value for name, value in terms.items() if value is not None}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
