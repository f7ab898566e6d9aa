"""All mistakes of a policy file are reported at once with their places; one of form hides no other."""

from tests.rules.asking import refused, written

from writ_testing.each_case import each_case


def test_all_mistakes_of_a_file_are_reported_at_once() -> None:
    found = refused(written("enabled: 7", "colour: red", "users: 3", "max_targets: -1"))
    assert [finding.split(":")[1] for finding in found] == ["6", "7", "8", "9"]


def test_mistakes_of_form_hide_no_others() -> None:
    text = written(
        "requires_aproval: true",
        "time_restrictions: [{start_time: 25:00, timezone: Mars, days_of_week: [9]}]",
        "parameter_constraints: {service_name: {type: sting, pattern: '('}}",
        "target_roles: [prod]",
    )
    whole = "\n    - {name: a, operations: [service_restrat], allowed: true}\n    - {name: b}"
    assert [reply.partition(": ")[0].removeprefix("policy.yaml:") for reply in refused(text + whole)] == [
        "3:13",  # the name occurs twice
        "6:7",
        "7:40",  # 25:00
        "7:57",  # Mars
        "7:78",
        "8:52",
        "8:68",
        "9:22",
        "10:14",
        "10:30",  # service_restrat, which permissive warns of
        "11:7",  # no allowed
        "11:7",  # no allowed
    ]
    assert not any("service_restrat" in reply for reply in refused(text + whole, "permissive"))


def test_unknown_operation_is_reported_beside_mistakes_of_form() -> None:
    text = (
        "policies: {global_policies: [{name: a, operations: [service_restrat], allowed: true, requires_aproval: true}]}"
    )
    found = refused(text)
    assert [reply.partition("; ")[2] for reply in found] == [
        "did you mean 'service_restart'?",
        "did you mean 'requires_approval'?",
    ]


def test_part_with_a_mistake_of_form_is_not_reported_as_missing() -> None:
    windows = "maintenance_windows: [{start_tme: 2026-01-01, end_time: 2026-01-02}]"
    rules = "global_policies: [{name: a, operations: [service_stop], allowed: true, maintenance_windows_only: true}]"
    assert not any("no maintenance window" in reply for reply in refused(f"policies: {{{windows}, {rules}}}"))
    assert any("no maintenance window" in reply for reply in refused(f"policies: {{{rules}}}"))


def test_each_mistake_of_a_window_is_reported() -> None:
    window = "{start_time: nine, end_time: '26:00', timezone: Mars, from: today, until: '2026-02-30'}"
    assert [reply.split(": ", 1)[1].split("'")[1] for reply in refused(written(f"time_restrictions: [{window}]"))] == [
        "nine",
        "26:00",
        "Mars",
        "today",
        "2026-02-30",
    ]
    windows = "[{name: patches, start_time: soon, end_time: later, timezone: Mars}]"
    text = f"policies: {{maintenance_windows: {windows}, global_policies: []}}"
    assert [reply.split(": ", 1)[1].split("'")[1] for reply in refused(text)] == ["soon", "later", "Mars"]


@each_case(
    ("key", "advice"),
    [
        ("minimum", "write 'min'"),
        ("maximum", "write 'max'"),
        ("minLength", "did you mean 'min_length'?"),
        ("max_items", "write 'max_length'"),
        ("regex", "write 'pattern', which covers the whole string"),
        ("enum", "write 'allowed_values'"),
        ("not_in", "write 'denied_values'"),
        ("values", "did you mean 'allowed_values' or 'denied_values'?"),
        ("default_value", "write 'default'"),
    ],
)
def test_keys_of_other_formats_in_a_constraint_lead_to_those_of_this_one(key: str, advice: str) -> None:
    text = written(f"parameter_constraints: {{service_name: {{{key}: 1}}}}")
    assert refused(text) == [f"policy.yaml:6:46: unknown key '{key}'; {advice}"]


def test_keys_of_other_formats_for_an_attribute_lead_to_those_of_this_one() -> None:
    text = written("target_attributes: {tier: {minimum: 1}}")
    assert refused(text) == ["policy.yaml:6:34: unknown key 'minimum'; write 'min'"]
