"""Analysis names its limits beside its results: patterns without a sample, long texts, evaluators."""

from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOON, at, file_of, policy, rule

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.evaluators import Evaluator
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_rules.analysis.access import AccessListing, AccessQuery, allowed
from writ_rules.analysis.analysis_limits import MOST_PAIRS
from writ_rules.analysis.diff import diff
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.engine.compile import compile_policy
from writ_rules.values.regexes import named, samples

WEB = Target(id="web-1", role="production", backend="local", docker={})
SPACE = QuestionSpace(catalogue=CATALOGUE, targets=(WEB,), principals=(ALICE,))


def about(operation: str, *rules: dict[str, Any], **sections: Any) -> AccessListing:
    made = policy(global_policies=list(rules), **sections)
    return allowed(made, SPACE, AccessQuery(operations=(operation,), around=at(NOON)))


def allowed_and_unknown(operation: str, name: str, **constraint: Any) -> tuple[str, list[str]]:
    """Return the part that a rule with this constraint allows, and the unknown part."""
    found = about(operation, rule("may", operation, parameter_constraints={name: constraint}))
    return found.accesses[0].allowed, [note.partition(": ")[2] for note in found.bounded]


@pytest.mark.parametrize(
    "pattern",
    [
        "[^;&|]*",
        "[^q]*",
        r"/[\x00-\x7f]*",
        r"/\pL+",
        "/[[:alpha:]]+",
        r"/[^\x{1F600}]*",
        "/[^[:space:]]*",
        "(?i)/SRV.*",
    ],
)
def test_texts_that_a_pattern_stops_are_found_as_those_that_it_lets_through(pattern: str) -> None:
    assert allowed_and_unknown("file_read", "file_path", pattern=pattern) == ("sometimes", [])


def test_a_dot_stops_at_the_end_of_a_line_where_a_value_may_have_several() -> None:
    assert allowed_and_unknown("file_write", "content", pattern=".*") == ("sometimes", [])
    assert allowed_and_unknown("file_read", "file_path", pattern=".*") == ("always", [])
    assert allowed_and_unknown("service_status", "service_name", pattern="(?s).*") == ("always", [])


@pytest.mark.parametrize(
    ("pattern", "extent", "note"),
    [
        (r"/\p{Greek}+", "never", r"no file_path was found that pattern '/\p{Greek}+' matches"),
        (r"[^\p{Cherokee}]*", "always", r"no file_path was found that pattern '[^\p{Cherokee}]*' does not match"),
        (r"[a-z]{3}", "never", "no file_path was found that pattern '[a-z]{3}' matches"),
    ],
)
def test_pattern_without_a_sample_is_noted(pattern: str, extent: str, note: str) -> None:
    assert allowed_and_unknown("file_read", "file_path", pattern=pattern) == (extent, [note])
    rules = [rule("may", "file_read"), rule("not", "file_read", allowed=False)]
    rules[1]["parameter_constraints"] = {"file_path": {"pattern": pattern}}
    changes = diff(file_of(global_policies=rules[:1]), file_of(global_policies=rules), SPACE, at(NOON))
    assert changes.bounded == [f"file_read on production: {note}"]


@pytest.mark.parametrize(
    ("allowed_pattern", "denied_pattern"),
    [
        ("web-[0-9]+", "web-[0-9]{1,3}"),
        ("app[a-z]*", "app[a-z]{0,5}"),
        ("web-[0-9]{1,5}", "web-[0-9]{1,4}"),
        ("web-[a-z0-9]{1,12}", "web-[a-z0-9]{1,8}"),
        ("[a-z]{1,20}", "[a-z]{1,19}"),
        ("web-[0-9]+", "(web|db)-[0-9]{1,3}"),
    ],
)
def test_patterns_without_a_distinguishing_text_are_noted(allowed_pattern: str, denied_pattern: str) -> None:
    may, not_ = (
        rule(
            name, "service_status", allowed=name == "may", parameter_constraints={"service_name": {"pattern": pattern}}
        )
        for name, pattern in (("may", allowed_pattern), ("not", denied_pattern))
    )
    note = f"no service_name was found that pattern '{allowed_pattern}' matches and pattern '{denied_pattern}' does not"
    assert any(bound.endswith(note) for bound in about("service_status", may, not_).bounded)
    was, now = (
        {**may, "parameter_constraints": {"service_name": {"pattern": one}}}
        for one in (allowed_pattern, denied_pattern)
    )
    changes = diff(file_of(global_policies=[was]), file_of(global_policies=[now]), SPACE, at(NOON))
    assert any(bound.endswith(note) for bound in changes.bounded)


def test_only_a_few_indistinguishable_patterns_are_named() -> None:
    rules = [
        rule(f"r{most}", "service_status", parameter_constraints={"service_name": {"pattern": f"[a-z]{{1,{most}}}"}})
        for most in range(10, 60)
    ]
    notes = [note for note in about("service_status", *rules).bounded if "pattern" in note]
    assert len(notes) == MOST_PAIRS + 2
    assert sum(note.endswith(" does not") for note in notes) == MOST_PAIRS


def test_patterns_with_a_distinguishing_text_or_certain_inclusion_are_not_noted() -> None:
    for one, other in (("web-1", "web-[0-9]"), ("a[0-9]", "b[0-9]"), ("web-[0-9]", ".*")):
        rules = [
            rule(name, "service_status", parameter_constraints={"service_name": {"pattern": pattern}})
            for name, pattern in (("one", one), ("other", other))
        ]
        assert about("service_status", *rules).bounded == []


def test_report_too_old_for_some_rules_is_noted_as_not_tried() -> None:
    def scanned(age: str) -> dict[str, Any]:
        return rule("may", "service_status", scans=[{"scanner": "trivy", "max_age": age}])

    changes = diff(file_of(global_policies=[scanned("24h")]), file_of(global_policies=[scanned("1h")]), SPACE, at(NOON))
    note = "a report of 'trivy' that is older than 3600 s, which some rules take, was not tried"
    assert changes.bounded == [f"service_status on production: {note}"]
    assert about("service_status", scanned("1h")).bounded == []


def test_a_pattern_for_what_is_secret_is_not_shown() -> None:
    _, notes = allowed_and_unknown("file_write", "content", pattern=r"\p{Greek}+")
    assert notes == ["no content was found that pattern ‹secret› matches"]


def test_length_that_is_too_long_to_try_is_noted() -> None:
    assert allowed_and_unknown("file_write", "content", max_length=1000) == ("sometimes", [])
    assert allowed_and_unknown("file_write", "content", max_length=65536) == (
        "always",
        ["no content that is 65537 long was tried"],
    )
    assert allowed_and_unknown("file_write", "content", min_length=5000) == (
        "never",
        ["no content that is 5000 long was tried"],
    )
    assert allowed_and_unknown("service_status", "service_name", max_length=255) == ("always", [])


def test_evaluator_is_noted_as_tried_on_some_requests_only() -> None:
    even = Evaluator(holds=lambda question, _: question.parameters["service_name"] == "7f3a", summary="one name")
    catalogue = Catalogue(BUILT_IN, {"even": even})
    file = file_of(global_policies=[rule("may", "service_status", evaluators=["even"]), rule("any", "service_restart")])
    made, _ = compile_policy(file, catalogue)
    assert made is not None
    question_space = QuestionSpace(catalogue=catalogue, targets=(WEB,), principals=(ALICE,))
    found = allowed(
        made, question_space, AccessQuery(operations=("service_status", "service_restart"), around=at(NOON))
    )
    assert [access.allowed for access in found.accesses] == ["never", "always"]
    note = "service_status on production: what evaluator 'even' says of other requests than those tried is not known"
    assert found.bounded == [note]
    assert diff(file_of(), file, question_space, at(NOON)).bounded == [note]


def test_too_many_dates_lists_and_scanners_are_noted() -> None:
    months = [
        rule(f"in-{month}", "service_status", effective_from=f"2027-{month:02}-01", expires_at=f"2027-{month:02}-20")
        for month in range(1, 8)
    ]
    window = [{"days_of_week": [6]}]
    found = about("service_status", *[{**one, "time_restrictions": window} for one in months])
    assert found.bounded == [
        "service_status on production: of 14 first and last moments the weeks around 12 were tried"
    ]
    scans = [{"scanner": f"s{number}", "present": False} for number in range(4)]
    found = about("service_status", rule("clean", "service_status", scans=scans))
    assert found.bounded == ["service_status on production: of 1296 states of lists and scans 64 were assumed"]


def test_words_of_re2_that_python_has_not_are_read() -> None:
    assert set(samples("[[:digit:]]x")) <= {f"{digit}x" for digit in "0123456789"}
    assert samples(r"a\x{1F600}") == ["a\U0001f600"]
    assert named(r"(?:[^;q]|a{2})[0-9]*") == [";", "q", "a", "0", "9", ":"]
    assert named(r"\p{Greek}") == samples(r"\p{Greek}") == []
