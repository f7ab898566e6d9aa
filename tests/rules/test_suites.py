"""Suites of cases: their format, their mistakes, and the results of a run."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.rules.asking import CATALOGUE, NOBODYS_KEY, rule

from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_rules.junit import junit
from writ_rules.suite_runs import SuiteRuns, read_suite, run_suites

TUESDAY = "2026-11-24T12:00:00Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = {"backend": "local", "docker": {}}
    listed = [{"id": "web-1", "role": "production", **target}, {"id": "dev-1", "role": "development", **target}]
    (tmp_path / "inventory.yaml").write_text(yaml_file.dump({"targets": listed}))
    people = [
        {"id": "alice", "kind": "human", "roles": ["operator"], "key": NOBODYS_KEY},
        {"id": "bob", "kind": "human", "roles": ["approver"], "key": NOBODYS_KEY[:-1] + "B"},
    ]
    (tmp_path / "principals.yaml").write_text(yaml_file.dump({"principals": people}))
    return tmp_path


def written(folder: Path, rules: list[dict[str, Any]], *cases: dict[str, Any], **sections: Any) -> Path:
    policy = {"name": "test", "global_policies": rules, **sections}
    (folder / "policy.yaml").write_text(yaml_file.dump({"policies": policy}))
    suite = {
        "policy": "policy.yaml",
        "inventory": "inventory.yaml",
        "principals": "principals.yaml",
        "now": TUESDAY,
        "cases": list(cases),
    }
    path = folder / "policy_test.yaml"
    path.write_text(yaml_file.dump(suite))
    return path


def case(decision: str = "allow", **keys: Any) -> dict[str, Any]:
    return {
        "name": "a case",
        "callers": ["alice"],
        "targets": ["web-1"],
        "operations": ["service_restart"],
        "parameters": {"service_name": "nginx"},
        "decision": decision,
        **keys,
    }


def run(path: Path) -> SuiteRuns:
    return run_suites([read_suite(path, CATALOGUE, "strict")])


def refused(path: Path) -> list[str]:
    with pytest.raises(FileErrors) as raised:
        read_suite(path, CATALOGUE, "strict")
    return [f"{problem.line}: {problem.message}" for problem in raised.value.found]


def test_case_is_decided_in_every_combination(folder: Path) -> None:
    rules = [rule("short", "service_restart", "service_start", parameter_constraints={"timeout": {"max": 60}})]
    many = case(
        callers=["alice", "bob"],
        targets=["web-1", "dev-1"],
        operations=["service_restart", "service_start"],
        parameters=[{"service_name": "nginx", "timeout": 60}, {"service_name": "ssh", "timeout": 61}],
        now=[TUESDAY, "2026-11-25T12:00:00Z"],
    )
    (only,) = run(written(folder, rules, many)).suites
    assert len(only.results) == 32
    assert {result.case.question.parameters["timeout"] for result in only.failures} == {61}
    assert only.failures[0].wrong == ["decision: expected allow, got deny"]
    assert "parameters 2, 2026-11-24T12:00:00Z" in only.failures[0].case.title


def test_rules_and_code_are_compared_where_a_case_gives_them(folder: Path) -> None:
    rules = [rule("one", "service_restart"), rule("two", "service_restart")]
    path = written(folder, rules, case(rules=["two", "one"], code="allowed"), case(rules=["one"]), case(code="denied"))
    first, second, third = run(path).suites[0].results
    assert first.passed
    assert second.wrong == ["rules: expected one, got one, two"]
    assert third.wrong == ["code: expected denied, got allowed"]


def test_case_accepts_approvals_an_emergency_and_a_dry_run(folder: Path) -> None:
    rules = [rule("asks", "service_restart", requires_approval=True)]
    sections = {"enable_dry_run": False, "emergency_policies": [rule("urgent", "service_stop")]}
    stop = {"operations": ["service_stop"]}
    path = written(
        folder,
        rules,
        case("require_approval"),
        case("deny", dry_run=True, code="dry_run_disabled"),
        case("deny", **stop, code="no_rule"),
        **sections,
    )
    assert run(path).failed == 0
    assert refused(written(folder, rules, case(approvals=["bobb"]))) == [
        "17: there is no principal 'bobb'; did you mean 'bob'?"
    ]


def test_suite_case_expects_invalid_for_an_invalid_request(folder: Path) -> None:
    rules = [rule("one", "service_restart")]
    unknown = case("invalid", targets=["nowhere"], code="unknown_target")
    wrong = case("invalid", parameters={"service_name": "nginx", "timeout": "long"}, code="invalid_parameters")
    lacking = case("invalid", operations=["stop_set"], code="unsupported", parameters={"reason": "x"})
    assert run(written(folder, rules, unknown, wrong, lacking)).failed == 0


def test_all_mistakes_of_a_suite_are_reported_at_once_with_their_place(folder: Path) -> None:
    rules = [rule("restarts", "service_restart"), rule("off", "service_restart", enabled=False)]
    wrong = case(callers=["alise"], operations=["service_restrat"], rules=["restart", "off"], now="noon")
    stale = case(facts={"listings": {"list_services": {"names": [], "age": "old"}}})
    assert refused(written(folder, rules, wrong, stale)) == [
        "8: there is no principal 'alise'; did you mean 'alice'?",
        "12: there is no operation 'service_restrat'; did you mean 'service_restart'?",
        "17: there is no enabled rule 'restart'; did you mean 'restarts'?",
        "18: there is no enabled rule 'off'",
        "19: 'noon' is not a date or time such as 2026-11-24T09:00:00Z",
        "31: 'old' is not a duration such as 30m",
    ]
    path = written(folder, rules, case())
    path.write_text(path.read_text().replace("callers:", "caller:").replace("decision: allow", "decision: permit"))
    assert refused(path) == [
        "6: the key 'callers' is missing",
        "7: unknown key 'caller'; did you mean 'callers'?",
        "15: 'permit' is none of allow, deny, require_approval, invalid",
    ]


def test_suite_reports_the_mistakes_of_its_policy(folder: Path) -> None:
    path = written(folder, [rule("restarts", "service_restart")], case())
    policy = folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("allowed:", "alowed:"))
    assert any("did you mean 'allowed'" in problem for problem in refused(path))


def test_rule_is_covered_by_one_case_that_it_decides_and_one_that_it_does_not_match(folder: Path) -> None:
    rules = [
        rule("bounded", "service_restart", parameter_constraints={"timeout": {"max": 60}}),
        rule("plain", "service_stop", allowed=False),
        rule("unseen", "file_read"),
    ]
    stop = case("deny", operations=["service_stop"])
    path = written(folder, rules, case(), stop)
    (coverage,) = run(path).coverage
    assert {each.rule: each.lacks for each in coverage.rules} == {
        "bounded": "matches in all cases",
        "plain": "",
        "unseen": "decides no case",
    }
    assert (folder / "policy.yaml").read_text().splitlines()[coverage.rules[0].line - 1].strip() == "- name: bounded"
    long = case("deny", parameters={"service_name": "nginx", "timeout": 61})
    assert [each.covered for each in run(written(folder, rules, case(), stop, long)).coverage[0].rules] == [
        True,
        True,
        False,
    ]


def test_rule_that_errs_does_not_count_as_matching(folder: Path) -> None:
    scan = {"scanner": "trivy", "severity": "high", "present": False, "max_age": "24h"}
    rules = [rule("scanned", "service_restart", scans=[scan])]
    (coverage,) = run(written(folder, rules, case("deny"), case("deny", targets=["dev-1"]))).coverage
    assert (coverage.percent, coverage.rules[0].lacks) == (0.0, "decides no case")


def test_rule_that_was_never_considered_is_reported_once(folder: Path) -> None:
    rules = [rule("unseen", "file_read", users=["bob"]), rule("seen", "service_restart", users=["alice"])]
    (coverage,) = run(written(folder, rules, case())).coverage
    assert [each.lacks for each in coverage.rules] == ["decides no case", "matches in all cases"]


def test_results_are_written_as_junit_xml(folder: Path) -> None:
    path = written(folder, [rule("one", "service_restart")], case(name="odd \u0007 <name>"), case("deny"))
    root = ET.fromstring(junit(run(path)))
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    passed, failed = root.iter("testcase")
    assert passed.get("name") == "odd � <name> (alice service_restart web-1)"
    assert passed.find("failure") is None
    assert failed.get("file") == str(path)
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message") == "decision: expected deny, got allow"


def test_a_case_may_say_what_an_allow_comes_with(folder: Path) -> None:
    asks = {"approvers": ["approver"], "timeout": "30m"}
    keys: dict[str, Any] = {"operation_timeout": 50, "max_targets": 2, "approval": asks}
    rules = [rule("may", "service_restart", parameter_constraints={"timeout": {"default": 40}}, **keys)]
    right = {
        "timeout": 40,
        "demands": {"may": asks},
        "limits": {"may": {"max_targets": 2}},
        "effective": {"timeout": 40},
    }
    wrong = {"timeout": 50, "demands": {"may": {}}, "limits": {}, "effective": {"timeout": 60}}
    assert run(written(folder, rules, case("require_approval", **right))).failed == 0
    (failure,) = run(written(folder, rules, case("require_approval", **wrong))).suites[0].failures
    assert failure.wrong == [
        "timeout: expected 50, got 40",
        "limits: expected none, got may: max_targets: 2",
        "effective: expected timeout: 60, got timeout: 40",
        "demands: expected may: one of role approver within 60 min, got may: one of role approver within 30 min",
    ]


def test_mistakes_of_a_suite_come_in_the_order_of_its_lines(folder: Path) -> None:
    wrong = case("allow", callers=["eve"], operations=["fly"], approvals=["mallory"], now="yesterday")
    lines = [int(reply.partition(":")[0]) for reply in refused(written(folder, [rule("a", "service_restart")], wrong))]
    assert lines == sorted(lines)
    assert len(lines) == 4


def test_rules_of_demands_and_limits_and_lists_of_facts_must_exist(folder: Path) -> None:
    wrong = case(
        demands={"restart": {"timeout": "soon"}, "require_approval_for_admin": {}},
        limits={"restart": {"max_targets": 2}},
        facts={"listings": {"list_servces": []}},
    )
    assert [
        line.partition(": ")[2] for line in refused(written(folder, [rule("restarts", "service_restart")], wrong))
    ] == [
        "there is no enabled rule 'restart'; did you mean 'restarts'?",
        "'soon' is not a duration such as 30m",
        "there is no enabled rule 'restart'; did you mean 'restarts'?",
        "there is no list 'list_servces'; did you mean 'list_services'?",
    ]


def test_a_case_may_say_whether_approval_windows_count(folder: Path) -> None:
    rules = [rule("may", "service_restart", approval={"windows": False})]
    right, wrong = (case("require_approval", demands={"may": keys}) for keys in ({"windows": False}, {}))
    assert run(written(folder, rules, right)).failed == 0
    (failure,) = run(written(folder, rules, wrong)).suites[0].failures
    asks = "may: one of role approver within 60 min"
    assert failure.wrong == [f"demands: expected {asks}, got {asks}, approval windows do not count"]
