"""Questions as JSON lines: the exact form in and out, and invalid lines."""

import json
from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, at, policy, rule

from writ_contracts.inventory import Target
from writ_rules.json_lines import LONGEST_LINE, reply_line
from writ_rules.setting import Setting, setting

NOW = at("2026-11-24T12:00:00Z")


@pytest.fixture(scope="module")
def here() -> Setting:
    window = {"start_time": "10:00", "end_time": "14:00"}
    rules = [
        rule("restarts", "service_restart", time_restrictions=[window]),
        rule("stops", "service_stop", requires_approval=True),
    ]
    target = Target(id="web-1", role="production", backend="local", docker={})
    return setting(policy(global_policies=rules), CATALOGUE, [target], [ALICE])


def replied(here: Setting, line: bytes | None = None, **keys: Any) -> Any:
    question = {
        "id": "1",
        "principal": "alice",
        "operation": "service_restart",
        "target": "web-1",
        "parameters": {"service_name": "nginx"},
        "at": "2026-11-24T12:00:00Z",
        **keys,
    }
    return json.loads(reply_line(here, json.dumps(question).encode() if line is None else line, now=NOW))


def test_an_answer_has_exactly_the_fields_of_the_format(here: Setting) -> None:
    reply = replied(here, emergency=False, approvals=[])
    assert list(reply) == ["id", "decision", "rules", "reason", "effective_parameters", "trace"]
    assert (reply["id"], reply["decision"], reply["rules"]) == ("1", "allow", ["restarts"])
    assert reply["effective_parameters"]["service_name"] == "nginx"
    assert reply["effective_parameters"]["timeout"] > 0
    assert [entry["rule"] for entry in reply["trace"]] == ["restarts"]


def test_request_is_decided_at_its_own_instant_or_now(here: Setting) -> None:
    assert replied(here, at="2026-11-24T15:00:00+01:00")["decision"] == "deny"
    assert replied(here, at="2026-11-24T14:59:59+01:00")["decision"] == "allow"
    assert replied(here, at=None)["decision"] == "allow"
    assert replied(here, at="soon")["decision"] == "invalid"


def test_json_line_names_a_demanded_approval(here: Setting) -> None:
    reply = replied(here, operation="service_stop", id=7)
    assert (reply["id"], reply["decision"], reply["rules"]) == (7, "require_approval", ["stops"])


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"principal": "nobody"}, "no principal 'nobody'"),
        ({"target": "nowhere"}, "no target 'nowhere'"),
        ({"operation": "reboot"}, "no operation 'reboot'"),
        ({"parameters": {"service_name": "nginx", "force": True}}, "force"),
        ({"parameters": {}}, "service_name"),
        ({"parametres": {}}, "parametres"),
        ({"facts": {"listings": {"list_services": {"age": "old"}}}}, "'old' is not a duration"),
    ],
)
def test_malformed_question_is_invalid(here: Setting, keys: dict[str, Any], reason: str) -> None:
    reply = replied(here, **keys)
    assert (reply["id"], reply["decision"], reply["rules"], reply["trace"]) == ("1", "invalid", [], [])
    assert reason in reply["reason"]


@pytest.mark.parametrize(
    "line", [b"nonsense", b'"text"', b"[1]", b"\xff", b"[" * 100_000, b'{"principal": "alice"}', b"{}" * LONGEST_LINE]
)
def test_malformed_json_line_gets_an_invalid_decision(here: Setting, line: bytes) -> None:
    reply = replied(here, line)
    assert (reply["id"], reply["decision"]) == (None, "invalid")
    assert reply["reason"]


def test_reply_to_an_invalid_line_has_its_id(here: Setting) -> None:
    assert replied(here, b'{"id": "7", "principal": 5}')["id"] == "7"
