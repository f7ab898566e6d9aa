"""A unit has one spelling, without `.service`: lint finds others. It finds invisible characters of names, too."""

from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, rule
from tests.rules.test_lint import found, name

from writ_contracts.errors import Invalid
from writ_rules.values.regexes import alternatives_ending
from writ_testing.each_case import each_case

DENY = {"allowed": False}
NEVER = "units are named without .service"


@pytest.mark.parametrize("spelled", ["ssh.service", "getty@tty1.service", "a.service.service"])
def test_a_request_spells_a_unit_without_service(spelled: str) -> None:
    for operation in ("service_status", "service_start", "service_stop", "service_restart"):
        with pytest.raises(Invalid, match=r"service_name must be a systemd service named without \.service"):
            CATALOGUE[operation].check({"service_name": spelled})
        assert CATALOGUE[operation].check({"service_name": spelled.removesuffix(".service").removesuffix(".service")})


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({"allowed_values": ["nginx", "ssh.service"]}, [f"service_name is never 'ssh.service': {NEVER}"]),
        ({"denied_values": ["ssh.service"]}, [f"service_name is never 'ssh.service': {NEVER}"]),
        ({"pattern": r"nginx|ssh\.service"}, [f"'one' never matches by a part of this pattern: {NEVER}"]),
    ],
)
def test_deny_rule_on_a_name_that_no_unit_has_is_refused(keys: dict[str, Any], messages: list[str]) -> None:
    assert found(rule("one", "service_stop", **DENY, **name(**keys))) == [f"lint: {text}" for text in messages]
    allow = found(rule("one", "service_stop", **name(**keys)))
    assert allow == [f"warning: {text}" for text in messages]


@pytest.mark.parametrize("more", [{}, DENY])
@pytest.mark.parametrize(
    "pattern", [r"ssh\.service", r"(ssh|nginx)\.service", r"a\.service|b[.]service", r".*\.service"]
)
def test_a_pattern_of_such_names_alone_is_vacuous(pattern: str, more: dict[str, Any]) -> None:
    reported = f"lint: vacuous: 'one' never matches by this pattern: {NEVER}"
    assert found(rule("one", "service_stop", **more, **name(pattern=pattern))) == [reported]


@pytest.mark.parametrize(
    "keys",
    [
        {"pattern": r"(ssh|sshd)(\.service)?"},
        {"pattern": "ssh.*"},
        {"pattern": r"(?i)ssh\.service"},
        {"pattern": r"ssh\.service-x"},
        {"allowed_values": ["ssh", "ssh.socket", "service"]},
    ],
)
def test_pattern_that_matches_a_unit_gets_no_finding(keys: dict[str, Any]) -> None:
    assert found(rule("one", "service_stop", **DENY, **name(**keys))) == []


def test_only_names_of_units_have_no_such_ending() -> None:
    keys: dict[str, Any] = {"parameter_constraints": {"file_path": {"pattern": r"/etc/systemd/system/.*\.service"}}}
    assert found(rule("one", "file_delete", **DENY, **keys)) == []


@pytest.mark.parametrize(
    ("pattern", "counted"),
    [
        ("", (0, 1)),
        (r"a\.x", (1, 1)),
        (r"a\.x$", (1, 1)),
        (r"(a|b\.x|c)", (1, 3)),
        (r"(?P<n>a\.x)|\.x", (2, 2)),
        (r"(?i:a\.x)", (0, 1)),
        (r"a\.x*", (0, 1)),
        ("[", (0, 0)),
    ],
)
def test_alternatives_of_a_pattern_with_an_ending_are_counted(pattern: str, counted: tuple[int, int]) -> None:
    assert alternatives_ending(pattern, ".x") == counted


@each_case("point", [0x200B, 0x200E, 0x200F, 0x061C, 0xFEFF, 0xAD, 0xE0041])
def test_name_with_an_invisible_character_is_a_warning_with_its_code_point(point: int) -> None:
    spelled = f"re{chr(point)}start{chr(point)}"
    text = f"the name has U+{point:04X}, which nobody sees: another name can look the same"
    assert found(rule(spelled, "service_restart")) == [f"warning: {text}"]
    assert found(rule(spelled, "service_restart", enabled=False)) == [f"warning: {text}"]


def test_name_with_letters_beyond_ascii_gets_no_finding() -> None:
    assert found(rule("größe ✔ 再起動", "service_restart")) == []
