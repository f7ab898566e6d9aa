"""`writ policy test`: runs suites of cases, and shows the rules' coverage; for people and for pipelines."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from msgspec import Struct
from rich.text import Text

from writ_cli.arguments.options import OUTPUT_FILE, asking
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.policy.files import FILE, MODE, RUNNING, text_of
from writ_cli.policy.problems import of_files, show_problems
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_contracts.errors import Invalid
from writ_contracts.plural import plural
from writ_contracts.policy.questions import CoveredRule, FailedCase
from writ_documents.document import FileErrors, FileProblem
from writ_rules.coverage import Coverage
from writ_rules.junit import junit
from writ_rules.loading import Mode
from writ_rules.replies import covered, failed
from writ_rules.suite_runs import PreparedSuite, SuiteRun, SuiteRuns, read_suite, run_suites
from writ_rules.suites import default_suite_path, is_suite, suites_in
from writ_runtime.plugins.entry_points import load_catalogue


class SuiteReport(Struct, frozen=True, kw_only=True):
    """One suite, as `-o json` has it. Stable: fields may be added."""

    file: str
    policy: str
    cases: int
    failed: int
    failures: list[FailedCase]


class CoverageReport(Struct, frozen=True, kw_only=True):
    """The coverage of one policy by all its suites."""

    policy: str
    percent: float
    rules: list[CoveredRule]


class TestRunReport(Struct, frozen=True, kw_only=True):
    """All suites with the coverage of their policies."""

    suites: list[SuiteReport]
    coverage: list[CoverageReport]


@click.command()
@click.argument("paths", nargs=-1, metavar="[FILE|FOLDER]...", type=click.Path(path_type=Path))
@click.option("--policy", "policy_file", type=FILE, metavar="FILE", help="Test this policy instead of the one named.")
@click.option("--junit", "junit_file", type=OUTPUT_FILE, metavar="FILE", help="Write the results there, as JUnit XML.")
@click.option("--coverage", is_flag=True, help="List the rules that no case covers.")
@click.option("--fail-under", type=click.FloatRange(0, 100), metavar="PERCENT", help="Fail below this rule coverage.")
@MODE
@RUNNING
@asking
async def test(
    settings: Settings,
    paths: tuple[Path, ...],
    policy_file: Path | None,
    junit_file: Path | None,
    coverage: bool,
    fail_under: float | None,
    mode: Mode,
    running: bool,
) -> int:
    """Run suites of cases (*_test.yaml): the named ones, those of a folder, or the one beside a named policy.

    A rule is covered once it has decided a case, and has been considered in another without matching. Exit status 1
    when a case is not decided as expected, or the coverage of a policy is below --fail-under.
    """
    suites = list(dict.fromkeys(_suites(paths or (Path(),))))
    if running:
        refuse_typed(("mode",), "the running Writ has its own: leave it out, or --running")
        if junit_file is not None:
            raise click.UsageError("--junit is for suites that are run here")
        tested = await _by_running_writ(settings, suites, policy_file)
    else:
        runs = run_suites(_prepared(suites, policy_file, mode))
        if junit_file is not None:
            _write(junit_file, runs)
        tested = TestRunReport(
            suites=[_report(run) for run in runs.suites], coverage=[_covered(one) for one in runs.coverage]
        )
    if settings.screen.json:
        settings.screen.data(tested)
    else:
        _show(settings.screen, tested, coverage=coverage or fail_under is not None)
    short = fail_under is not None and any(each.percent < fail_under for each in tested.coverage)
    return Exit.FAILED if any(suite.failed for suite in tested.suites) or short else Exit.DONE


async def _by_running_writ(settings: Settings, suites: list[Path], policy: Path | None) -> TestRunReport:
    """Run the suites on the policy in force, or on a file's."""
    document = None if policy is None else text_of(policy)
    name = "the policy in force" if policy is None else str(policy)
    reports, coverage = [], []
    async with await settings.connect() as writ:
        for path in suites:
            answer = await writ.policy.test(text_of(path), document=document)
            show_problems(settings.screen, of_files(answer.problems, {"suite": str(path), "policy": name}))
            if answer.problems:
                raise Invalid(f"{path}: could not be run")
            reports.append(
                SuiteReport(
                    file=str(path), policy=name, cases=answer.cases, failed=answer.failed, failures=answer.failures
                )
            )
            coverage.append(CoverageReport(policy=name, percent=answer.percent, rules=answer.coverage))
    return TestRunReport(suites=reports, coverage=coverage)


def _suites(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = suites_in(path)
            if not found:
                raise Invalid(f"{path.absolute()} has no suite: a file such as policy_test.yaml beside policy.yaml")
            yield from found
        elif is_suite(path) or not path.exists():
            yield path
        elif default_suite_path(path).exists():
            yield default_suite_path(path)
        else:
            raise Invalid(f"{path} has no suite: write its cases into {default_suite_path(path)}")


def _prepared(suites: list[Path], policy: Path | None, mode: Mode) -> list[PreparedSuite]:
    """Return all suites, or raise with the problems of all."""
    catalogue = load_catalogue(evaluators=True)
    prepared: list[PreparedSuite] = []
    problems: list[FileProblem] = []
    for path in suites:
        try:
            prepared.append(read_suite(path, catalogue, mode, policy=policy))
        except FileErrors as errors:
            problems += errors.found
    if problems:
        raise FileErrors(*dict.fromkeys(problems))
    return prepared


def _write(path: Path, runs: SuiteRuns) -> None:
    path.write_bytes(junit(runs))


def _report(run: SuiteRun) -> SuiteReport:
    failures = [failed(result) for result in run.failures]
    return SuiteReport(
        file=run.suite, policy=run.policy, cases=len(run.results), failed=len(failures), failures=failures
    )


def _covered(coverage: Coverage) -> CoverageReport:
    return CoverageReport(policy=coverage.policy, percent=coverage.percent, rules=covered(coverage))


def _show(screen: Screen, tested: TestRunReport, *, coverage: bool) -> None:
    for suite in tested.suites:
        _show_suite(screen, suite)
    for each in tested.coverage if coverage else ():
        _show_coverage(screen, each)


def _show_suite(screen: Screen, suite: SuiteReport) -> None:
    for case in suite.failures:
        screen.line(f"{suite.file}:{case.line}: ", Text("failed", style="red"), f": {case.title}")
        screen.fields([*map(_pair, case.wrong), ("reason", case.reason)])
    verdict = Text(f"{suite.failed} failed", style="red") if suite.failed else Text("passed", style="green")
    screen.line(f"{suite.file}: {plural(suite.cases, 'case')}, ", verdict)


def _pair(wrong: str) -> tuple[str, object]:
    name, _, text = wrong.partition(": ")
    return name, text


def _show_coverage(screen: Screen, coverage: CoverageReport) -> None:
    lacking = [rule for rule in coverage.rules if not rule.covered]
    many = len(coverage.rules)
    screen.line(f"{coverage.policy}: {many - len(lacking)} of {many} rules covered ({coverage.percent:.0f} %)")
    for rule in lacking:
        screen.line(f"  {coverage.policy}:{rule.line}: '{rule.rule}' {rule.lacks}")
