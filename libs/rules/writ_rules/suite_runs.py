"""Runs of suites: each combination is decided and compared with its case, and the matching rules are counted."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_documents import yaml_file
from writ_rules.coverage import Coverage, CoverageCounter
from writ_rules.engine.decide import Ruling
from writ_rules.loading import Mode
from writ_rules.setting import PolicySource, Setting, read_policy, setting
from writ_rules.suites import SuiteCase, cases_of, principals_of, sibling_path, suite_of, targets_of


class SuiteResult(Struct, frozen=True, kw_only=True):
    """One combination: its decision, and the differences from the case (none: it passed)."""

    case: SuiteCase
    decision: str
    code: str
    rules: list[str]
    reason: str
    wrong: list[str]

    @property
    def passed(self) -> bool:
        return not self.wrong


class SuiteRun(Struct, frozen=True, kw_only=True):
    """The results of one suite, in the order of its cases."""

    suite: str
    policy: str
    results: list[SuiteResult]

    @property
    def failures(self) -> list[SuiteResult]:
        return [result for result in self.results if not result.passed]


class SuiteRuns(Struct, frozen=True, kw_only=True):
    """Several suites, and their coverage of each policy."""

    suites: list[SuiteRun]
    coverage: list[Coverage]

    @property
    def failed(self) -> int:
        """Return the number of failed combinations."""
        return sum(len(run.failures) for run in self.suites)


class PreparedSuite(Struct, frozen=True, eq=False, kw_only=True):
    """A suite whose files are read and whose names all exist."""

    name: str
    source: PolicySource
    setting: Setting
    cases: list[SuiteCase]


def read_suite(path: Path, catalogue: Catalogue, mode: Mode, *, policy: Path | None = None) -> PreparedSuite:
    """Read a suite with its policy, or another. Raises FileErrors with the mistakes of any of its files."""
    document = yaml_file.read(path)
    entry = suite_of(document)
    source = read_policy(policy or sibling_path(path, entry.policy), catalogue, mode)
    here = setting(source.policy, catalogue, targets_of(path, entry), principals_of(path, entry))
    return PreparedSuite(name=str(path), source=source, setting=here, cases=cases_of(document, entry, source, here))


def run_suites(suites: Iterable[PreparedSuite]) -> SuiteRuns:
    """Run all suites; suites of one policy count towards one coverage."""
    counters: dict[str, tuple[CoverageCounter, PolicySource]] = {}
    runs = []
    for suite in suites:
        policy = suite.source.document.name
        counter, _ = counters.setdefault(policy, (CoverageCounter(), suite.source))
        results = [run_case(case, suite.setting, counter) for case in suite.cases]
        runs.append(SuiteRun(suite=suite.name, policy=policy, results=results))
    return SuiteRuns(suites=runs, coverage=[counter.of(source) for counter, source in counters.values()])


def run_case(case: SuiteCase, here: Setting, counter: CoverageCounter) -> SuiteResult:
    try:
        ruling = here.decide(case.question)
    except Invalid as error:
        wrong = _differences(case, {"decision": "invalid", "code": error.code})
        return SuiteResult(case=case, decision="invalid", code=error.code, rules=[], reason=str(error), wrong=wrong)
    counter.count(ruling)
    wrong = _differences(
        case, {"decision": ruling.effect, "code": ruling.code, "rules": ruling.rules, **_terms(ruling)}
    )
    return SuiteResult(
        case=case,
        decision=ruling.effect,
        code=ruling.code,
        rules=ruling.rules,
        reason=ruling.reason,
        wrong=wrong,
    )


def _differences(case: SuiteCase, got: Mapping[str, object]) -> list[str]:
    expected = {"decision": case.decision, "rules": case.rules, "code": case.code, **case.terms}
    if isinstance(effective := got.get("effective"), dict) and "effective" in expected:
        got = {**got, "effective": {name: effective.get(name) for name in case.terms["effective"]}}
    return [
        f"{name}: expected {_text_of(value)}, got {_text_of(got.get(name))}"
        for name, value in expected.items()
        if value is not None and value != got.get(name)
    ]


def _terms(ruling: Ruling) -> dict[str, object]:
    """Return the terms of an allow, in the words of a suite."""
    limits: dict[str, dict[str, int]] = {}
    for limit in ruling.limits:
        limits.setdefault(limit.rule, {})[limit.kind] = limit.most
    return {
        "timeout": ruling.timeout,
        "demands": {demand.rule: demand.terms for demand in ruling.demands},
        "limits": limits,
        "effective": dict(ruling.effective),
    }


def _text_of(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text_of(item)}" for key, item in sorted(value.items())) or "none"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)
