"""Suite runs as JUnit XML, the form read by continuous integration (schema of Jenkins' xunit plugin)."""

from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from writ_rules.suite_runs import SuiteResult, SuiteRun, SuiteRuns


def junit(runs: SuiteRuns) -> bytes:
    """Return one `testsuite` for each file and one `testcase` for each combination."""
    root = Element("testsuites", name="writ policy test")
    root.set("tests", str(sum(len(run.results) for run in runs.suites)))
    root.set("failures", str(runs.failed))
    root.set("errors", "0")
    for run in runs.suites:
        _suite(root, run)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _suite(root: Element, run: SuiteRun) -> None:
    suite = _element(root, "testsuite", name=run.suite, tests=len(run.results), failures=len(run.failures))
    suite.set("errors", "0")
    suite.set("skipped", "0")
    for result in run.results:
        _case(suite, run, result)


def _case(suite: Element, run: SuiteRun, result: SuiteResult) -> None:
    position = result.case.place
    case = _element(
        suite, "testcase", name=result.case.title, classname=run.policy, file=position.file, line=position.line
    )
    if not result.passed:
        failure = _element(case, "failure", message="; ".join(result.wrong), type="decision")
        failure.text = _clean(f"{position.file}:{position.line}: {result.case.title}\n{result.reason}")


def _element(parent: Element, tag: str, /, **attributes: Any) -> Element:
    return SubElement(parent, tag, {key: _clean(str(value)) for key, value in attributes.items()})


def _clean(text: str) -> str:
    """Replace characters not allowed in XML 1.0."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
