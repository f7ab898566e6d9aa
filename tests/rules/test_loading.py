"""Policy files: the specification's own examples load, every mistake has its place, and the loader never crashes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.rules.asking import CATALOGUE, loaded, refused, warned, written

from writ_contracts.operations import Catalogue
from writ_documents import yaml_file
from writ_documents.document import FileErrors, FileProblem
from writ_rules.loading import compile_document
from writ_testing.each_case import each_case

EXAMPLE = """
policies:
  version: "v2"
  name: "Policy Name"
  description: "Policy description"
  deny_by_default: true
  enable_dry_run: true
  require_approval_for_admin: true

  global_policies:
    - name: "rule_name"
      description: "Rule description"
      enabled: true
      operations: [service_restart, container_stop]
      target_roles: [production, staging]
      allowed: true
      requires_approval: false
      parameter_constraints:
        service_name:
          type: "string"
          required: true
          max_length: 64
          pattern: "^[a-zA-Z0-9][a-zA-Z0-9_-]*$"
        timeout:
          type: "int"
          required: false
          min: 1
          max: 300
          default: 60
        container_name:
          type: "string"
          required: true
          max_length: 64
          allowlist_source: "list_containers"  # Dynamic validation
      time_restrictions:
        - start_time: "08:00"
          end_time: "18:00"
          days_of_week: [1,2,3,4,5]  # Monday-Friday
          timezone: "UTC"

  role_policies:
    production:
      - # Production-specific rules
    development:
      - # Development-specific rules

  emergency_policies:
    - # Emergency override rules
"""

SWITCHES = "YAML reads yes, no, on and off as true or false; write a text in quotes"
TIMEOUTS = "a whole number from 1 to 300 (seconds until the operation is ended on the host)"
IN_USE = """
policies:
  version: "v1"
  name: in use
  audit_all_operations: true
  created_at: "2026-01-01"
  created_by: somebody
  maintenance_windows:
    - {name: sundays, start_time: "2026-01-04T02:00:00Z", end_time: "2026-01-04T06:00:00Z", recurrence: weekly,
       days_of_week: [0], timezone: Europe/Berlin}
  global_policies:
    - name: a
      operations: [package_update]
      allowed: true
      approval_timeout: 30
      operation_timeout: 600
      maintenance_windows_only: true
      parameter_constraints: {package_name: {type: string, description: which}}
"""


@pytest.mark.parametrize("text", [EXAMPLE, IN_USE])
def test_files_written_for_the_format_load_unchanged(text: str) -> None:
    assert refused(text) == []


def test_a_file_of_the_older_format_names_the_command_that_converts_it() -> None:
    assert "`writ policy convert FILE` converts it" in refused("rules: []\n")[0]


def test_the_missions_own_examples_load_without_a_warning() -> None:
    assert [*warned(EXAMPLE), *warned(IN_USE)] == []


@each_case(
    ("line", "message"),
    [
        ("parameter_constraints: {timeout: {min_value: 1}}", "6:41: unknown key 'min_value'; write 'min'"),
        ("target_patterns: [web-*]", "6:7: unknown key 'target_patterns'; write 'targets', ids with `*` and `?`"),
        (
            "principals: [alice]",
            "6:7: unknown key 'principals'; write 'users' or 'user_roles', or 'target_roles' for targets",
        ),
        ("roles: [sre]", "6:7: unknown key 'roles'; write 'users' or 'user_roles', or 'target_roles' for targets"),
        ("effect: deny", "6:7: unknown key 'effect'; write 'allowed: true' or 'allowed: false'"),
        ("created_at: x", "6:7: unknown key 'created_at'; it has no effect; leave it out"),
        ("requires_approvel: true", "6:7: unknown key 'requires_approvel'; did you mean 'requires_approval'?"),
        (
            "requires_approval: {approvers: [admin]}",
            "6:26: expected true or false; write approvers, quorum and the like below 'approval'",
        ),
        ("enabled: maybe", "6:16: expected true or false, got a text"),
        (
            "target_roles: [prod]",
            (
                "6:22: 'prod' is none of gateway, production, development, staging, testing, maintenance"
                "; did you mean 'production'?"
            ),
        ),
        ("max_concurrent: 0", "6:23: expected a whole number of at least 1"),
        ("scans: [{scanner: trivy, max_age: soon}]", "6:41: 'soon' is not a duration such as 30m"),
        ("scans: [{scanner: trivy, severity: bad}]", "6:42: 'bad' is none of low, medium, high, critical"),
        ("evaluators: [moon]", "6:20: there is no evaluator 'moon'; installed are: none"),
        ("target_attributes: {tier: {maxx: 1}}", "6:34: unknown key 'maxx'; did you mean 'max'?"),
        ("approval: {steps: [{timeout: 5m}]}", "6:27: unknown key 'timeout'; known are approvers, quorum"),
        ("effective_from: soon", "6:23: 'soon' is not a date or time such as 2026-11-24T09:00:00Z"),
        (
            "users: [no]",
            f"6:15: expected a text, got true or false: {SWITCHES}",
        ),
        ("approval: {timeout: 30}", "6:27: 30 has no unit: 30s, 30m or 30h?"),
        ("approval: {timeout: '30'}", "6:27: 30 has no unit: 30s, 30m or 30h?"),
        ("approval: {timeout: true}", f"6:27: expected a text, got true or false: {SWITCHES}"),
        ("approval: {timeout: half an hour}", "6:27: 'half an hour' is not a duration such as 30m"),
        ("time_restrictions: [{days_of_week: [8]}]", "6:43: days_of_week takes 1 to 7, or mon to sun; 0 is Sunday too"),
        (
            "time_restrictions: [{days_of_week: [mon, Tues]}]",
            "6:48: days_of_week takes 1 to 7, or mon to sun; 0 is Sunday too",
        ),
        ("time_restrictions: [{start_time: 25:00}]", "6:40: '25:00' is not a time of day such as 08:30"),
        ("time_restrictions: [{timezone: Mars/Base}]", "6:38: there is no time zone 'Mars/Base'"),
        ("parameter_constraints: {service_name: {patern: x}}", "6:46: unknown key 'patern'; did you mean 'pattern'?"),
        ("parameter_constraints: {service_name: {pattern: '('}}", "6:55: not a regular expression (RE2): missing ): ("),
        (
            "parameter_constraints: {service_name: {pattern: '(?=a)'}}",
            "6:55: not a regular expression (RE2): invalid perl operator: (?=",
        ),
        (
            "parameter_constraints: {service_name: {type: str}}",
            "6:52: 'str' is none of string, int, float, bool, list, dict; did you mean 'string'?",
        ),
    ],
)
def test_a_mistake_is_refused_in_both_modes_with_its_place(line: str, message: str) -> None:
    for mode in ("strict", "permissive"):
        assert refused(written(line), mode) == [f"policy.yaml:{message}"]


@each_case(
    ("line", "message"),
    [
        ("users: []", "6:14: an empty list covers nobody: leave out 'users' for all"),
        ("approval: {}\n      requires_approval: false", "3:7: 'a' names approvers and has requires_approval: false"),
        ("maintenance_windows_only: true", "6:33: the policy has no maintenance window: the rule never matches"),
        ("target_attributes: {tier: []}", "6:33: an empty list: no value matches"),
        ("target_attributes: {tier: {min: 3, max: 2}}", "6:33: min 3 is above max 2: the rule never matches"),
        ("time_restrictions: [{days_of_week: []}]", "6:42: a window without days never opens"),
        ("parameter_constraints: {timeout: {min: 3, max: 2}}", "6:40: min 3 is above max 2: the rule never matches"),
        (
            "parameter_constraints: {timeout: {pattern: x}}",
            "6:50: service_restart.timeout is of type int, which 'pattern' can't judge",
        ),
        (
            "parameter_constraints: {service_name: {type: int}}",
            "6:52: service_restart.service_name is of type string: the rule never matches",
        ),
        (
            "parameter_constraints: {timeout: {default: 999}}",
            f"6:50: service_restart.timeout must be {TIMEOUTS}",
        ),
        (
            "parameter_constraints: {timeout: {default: 50, max: 40}}",
            "6:50: the default itself breaks max (at most 40)",
        ),
    ],
)
def test_rule_without_an_effect_is_refused_in_strict_and_a_warning_in_permissive(line: str, message: str) -> None:
    assert refused(written(line)) == [f"policy.yaml:{message}"]
    assert f"policy.yaml:{message}" in warned(written(line), "permissive")


def test_an_operation_that_does_not_exist_is_named_with_the_nearest() -> None:
    text = "policies: {global_policies: [{name: a, operations: [service_restrat], allowed: false}]}"
    assert refused(text) == [
        "policy.yaml:1:53: there is no operation 'service_restrat'; did you mean 'service_restart'?"
    ]


@pytest.mark.parametrize("mode", ["strict", "permissive"])
@pytest.mark.parametrize("roles", ["[staging]", "[production, staging]"])
def test_a_rule_under_a_role_that_names_others_is_refused(mode: str, roles: str) -> None:
    one = f"{{name: a, operations: [service_stop], allowed: true, target_roles: {roles}}}"
    text = f"policies: {{role_policies: {{production: [{one}]}}}}"
    (reply,) = refused(text, mode)
    assert reply.startswith(
        "policy.yaml:1:108: names staging: a rule under role_policies.production is about that role"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("emergency_overridable: true", "only a deny can be emergency_overridable"),
        (
            "parameter_constraints: {timeout: {max_age: 5}}",
            "it is the age of a list: without allowlist_source it has no effect",
        ),
    ],
)
def test_rule_with_less_effect_than_it_seems_loads_with_a_warning(line: str, message: str) -> None:
    assert any(message in warning for warning in warned(written(line)))


@pytest.mark.parametrize("pattern", ["backup_*", "service_?top", "service_[ab]"])
def test_pattern_in_place_of_an_operation_is_refused_with_what_to_write(pattern: str) -> None:
    text = f"policies: {{global_policies: [{{name: a, operations: ['{pattern}'], allowed: false}}]}}"
    (finding,) = refused(text)
    assert f"there is no operation '{pattern}'; operations are named in full, or in a group under 'groups'" in finding


def test_misspelt_parameter_of_an_allow_rule_is_refused_since_the_rule_would_allow_any_value() -> None:
    message = "no operation of the rule has the parameter 'servise_name'"
    line = "parameter_constraints: {servise_name: {max: 1}}"
    (finding,) = refused(written(line))
    assert f"{message}, so 'a' allows any value; did you mean 'service_name'?" in finding
    assert f"{message}; did you mean 'service_name'?" in warned(written(line).replace("true", "false"))[0]
    assert f"{message}; did you mean 'service_name'?" in warned(written(f"enabled: false\n      {line}"))[1]


@pytest.mark.parametrize("key", ["max_concurrent", "max_targets"])
def test_a_limit_on_a_deny_is_refused(key: str) -> None:
    text = f"policies: {{global_policies: [{{name: a, operations: [service_stop], allowed: false, {key}: 1}}]}}"
    assert ["so a limit has no effect" in finding for finding in refused(text)] == [True]


def test_a_list_that_targets_do_not_have_is_warned_of_with_the_nearest() -> None:
    line = "parameter_constraints: {service_name: {allowlist_source: list_service}}"
    assert "did you mean 'list_services'?" in warned(written(line))[0]


def test_a_maintenance_window_that_cannot_be_is_refused_with_its_place() -> None:
    window = "{start_time: '2026-01-04T06:00:00', end_time: '2026-01-04T02:00:00'}"
    assert refused(f"policies: {{maintenance_windows: {{a: {window}}}}}") == [
        "policy.yaml:1:37: end_time is not after start_time"
    ]


def test_audit_all_operations_false_is_a_warning() -> None:
    assert any("everything is recorded" in one for one in warned("policies: {audit_all_operations: false}"))


def test_warning_of_an_open_default_says_what_it_allows_to_whom_and_how_to_end_it() -> None:
    [warning] = warned("policies: {deny_by_default: false}")
    for part in (
        "every principal, AI agents included, may run every operation on every target where no rule covers the request",
        "risk admin need an approval",
        "Operations on Writ itself, such as policy_publish, still need a rule",
        "remove this line",
        "`writ policy who-can OPERATION`",
    ):
        assert part in warning
    [unapproved] = warned("policies: {deny_by_default: false, require_approval_for_admin: false}")
    assert "need an approval" not in unapproved


def test_two_rules_of_one_name_are_refused() -> None:
    one = "{name: a, operations: [service_stop], allowed: true}"
    text = f"policies: {{global_policies: [{one}], emergency_policies: [{one}]}}"
    assert [finding.partition(": ")[2] for finding in refused(text)] == ["2 rules have the name 'a'"] * 2


@pytest.mark.parametrize("text", ["", "[]", "7", "policies:", "policies: []", "rules: {}", "policies: {rules: []}"])
def test_malformed_policy_is_refused(text: str) -> None:
    assert refused(text)


def test_a_policy_without_rules_loads_and_denies() -> None:
    assert loaded("policies: {global_policies: , role_policies: , emergency_policies: []}").rules == 0


NOWHERE = FileProblem("", 0, 0, "an error that says nothing", "")
KEYS = ["policies", "global_policies", "role_policies", "name", "operations", "allowed", "parameter_constraints", "min"]
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=6)
TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES | st.sampled_from(["service_restart", "production", "08:00", "^a+$"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(
    TREES.map(lambda tree: {"policies": {"global_policies": [tree], "role_policies": {"production": [tree]}}}) | TREES
)
def test_any_data_is_a_policy_or_refused_with_places(data: Any) -> None:
    check(yaml_file.dump(data).encode())


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_a_policy_or_refused_with_places(text: str | bytes) -> None:
    check(text.encode(errors="replace") if isinstance(text, str) else text)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_policy_is_a_policy_or_refused_with_places(data: st.DataObject) -> None:
    whole = EXAMPLE.encode()
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    check(whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:])


def check(text: bytes) -> None:
    found: tuple[FileProblem, ...] = ()
    try:
        compile_document(yaml_file.parse(text, "p.yaml"), CATALOGUE, "strict")
    except FileErrors as errors:
        found = errors.found or (NOWHERE,)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in found)


def test_policy_names_an_operation_of_a_plugin_that_lists_its_backends() -> None:
    """mypy asks for a tuple, and nothing else does: such an operation cannot be hashed."""
    listed = structs.replace(CATALOGUE["service_restart"], name="acme_restart", backends=["ssh"])
    text = EXAMPLE.replace("service_restart, container_stop", "acme_restart")
    policy, _ = compile_document(yaml_file.parse(text.encode(), "policy.yaml"), Catalogue([listed]), "permissive")
    assert ("acme_restart", "production") in policy.index
