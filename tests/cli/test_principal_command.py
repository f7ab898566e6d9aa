"""`writ principal` in a folder, without a running installation."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from writ_cli.main import cli
from writ_cli.terminal.exit_status import Exit
from writ_installation.administration import principals
from writ_installation.files.create import create_installation
from writ_installation.files.gateway_tokens import create_token, read_tokens
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import principals_of
from writ_testing.peers.nats_server import free_port
from writ_trust.keys import Key, generate_seed

POLICY = """\
policies:
  name: roles
  global_policies:
    - name: leads
      allowed: true
      operations: [service_stop]
      user_roles: [lead]
      approval:
        steps: [{approvers: [boss]}]
    - name: reads
      allowed: true
      operations: [service_status]
      user_roles: [auditors]
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / ".writ")
    create_installation(made)
    return made


def writ(home: Home, *words: str) -> Result:
    return CliRunner(env={"WRIT_HOME": str(home.root)}).invoke(cli, ["principal", *words])


def test_removal_of_a_principal_is_confirmed(home: Home) -> None:
    assert writ(home, "add", "bob").exit_code == 0
    refused = writ(home, "remove", "bob")
    assert (refused.exit_code, "confirm the removal of bob with --yes" in refused.stderr) == (2, True)
    assert "bob" in principals_of(home)
    assert writ(home, "remove", "bob", "--yes").exit_code == 0
    assert "bob" not in principals_of(home)
    assert not home.seed_file("principal-bob").exists()


def test_new_key_is_named_with_its_effect(home: Home) -> None:
    assert writ(home, "add", "bob").exit_code == 0
    done = writ(home, "rotate", "bob")
    assert done.stdout.splitlines() == [
        f"bob has a new key: {home.seed_file('principal-bob')}",
        "  copy it to its client: it is used, and the old one refused, once Writ runs here and has read the files",
    ]


def test_tokens_end_with_a_key_that_is_replaced_by_a_given_one(home: Home) -> None:
    assert writ(home, "add", "bot", "--kind", "agent", "--via", "gateway").exit_code == 0
    create_token(home.gateway_tokens, principals_of(home)["bot"], now=0.0, lifetime=60, note="")
    done = writ(home, "rotate", "bot", "--key", Key(generate_seed()).public)
    assert (done.exit_code, "1 token of it ended" in done.stdout) == (0, True)
    assert read_tokens(home.gateway_tokens) == []


@pytest.mark.parametrize("words", [("add", "eve"), ("rotate", "operator")])
def test_key_that_nats_does_not_accept_is_one_document_for_programs(
    home: Home, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(principals, "ADMITTED_WITHIN", 0.2)
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{free_port()}")
    refused = writ(home, *words, "-o", "json")
    assert refused.exit_code not in (Exit.DONE, Exit.INVALID)
    assert "is in principals.yaml" in json.loads(refused.stdout)["error"]["message"]
    assert words[1] in principals_of(home)


@pytest.mark.parametrize(
    ("command", "value", "nothing", "before"),
    [("roles", "operator", "--none", ["operator", "admin"]), ("acts-for", "operator", "--nobody", "operator")],
)
def test_rights_are_not_taken_by_a_command_that_names_none(
    home: Home, command: str, value: str, nothing: str, before: object
) -> None:
    assert writ(home, "add", "bot", "--kind", "agent", "--acts-for", "operator").exit_code == 0
    name = "bot" if command == "acts-for" else "operator"

    def now() -> object:
        return getattr(principals_of(home)[name], command.replace("-", "_"))

    refused = writ(home, command, name)
    assert (refused.exit_code, f"or {nothing}" in refused.stderr, now()) == (2, True, before)
    refused = writ(home, command, name, value, nothing)
    assert (refused.exit_code, now()) == (2, before)
    assert writ(home, command, name, nothing).exit_code == 0
    assert not now()


@pytest.mark.parametrize("words", [("remove", "--yes"), ("show",), ("disable",), ("rotate",), ("roles",)])
def test_a_misspelt_principal_is_named_with_the_nearest(home: Home, words: tuple[str, ...]) -> None:
    refused = writ(home, *words, "operatr")
    assert refused.exit_code == 2
    assert refused.stderr == "writ: there is no principal 'operatr'; did you mean 'operator'?\n"


@pytest.mark.parametrize("words", [("add", "bob", "--role"), ("roles", "operator")])
def test_a_role_that_nothing_names_is_refused_unless_it_is_a_new_one(home: Home, words: tuple[str, ...]) -> None:
    before = principals_of(home)
    refused = writ(home, *words, "oprator")
    expected = "writ: no rule of the policy names role 'oprator', and no principal has it; did you mean 'operator'?"
    assert (refused.exit_code, refused.stderr.startswith(expected)) == (2, True), refused.stderr
    assert principals_of(home) == before
    assert writ(home, *words, "oprator", "--new-role").exit_code == 0
    assert writ(home, "add", "carol", "--role", "oprator").exit_code == 0


def test_roles_of_rules_approvals_and_scanners_are_known(home: Home) -> None:
    home.policy.write_text(POLICY)
    for name, role in enumerate(("lead", "auditors", "boss", "approver", "scanner")):
        done = writ(home, "add", f"p{name}", "--role", role)
        assert done.exit_code == 0, done.stderr
    refused = writ(home, "add", "bob", "--role", "zzz")
    assert "there are admin, approver, auditors, boss, lead, operator, scanner." in refused.stderr


def test_a_policy_that_cannot_be_read_refuses_no_role(home: Home) -> None:
    home.policy.write_text("policies: [")
    done = writ(home, "add", "bob", "--role", "oprator")
    assert (done.exit_code, "roles are not compared with the policy" in done.stderr) == (0, True)


def test_a_misspelt_human_to_act_for_is_named_with_the_nearest(home: Home) -> None:
    refused = writ(home, "add", "bot", "--kind", "agent", "--acts-for", "operatr")
    assert (refused.exit_code, "did you mean 'operator'?" in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize(
    ("words", "hint"), [(("agent",), True), (("agent", "--acts-for", "operator"), False), (("service",), False)]
)
def test_an_agent_that_acts_for_no_human_is_pointed_out(home: Home, words: tuple[str, ...], hint: bool) -> None:
    done = writ(home, "add", "bot", "--kind", *words)
    line = "  it acts for no human on record: `writ principal acts-for bot HUMAN` names one"
    assert (done.exit_code, line in done.stdout.splitlines()) == (0, hint)


@pytest.mark.parametrize("words", [("disable",), ("remove", "--yes"), ("roles", "--none")])
def test_a_change_after_which_nobody_could_publish_is_warned_of(home: Home, words: tuple[str, ...]) -> None:
    assert writ(home, "add", "bob", "--role", "operator").exit_code == 0
    assert writ(home, "roles", "bob", "operator", "admin").stderr == ""
    assert writ(home, "roles", "bob", "operator").stderr == ""  # the operator of `writ up` still can
    done = writ(home, words[0], "operator", *words[1:])
    assert done.exit_code == 0
    assert done.stderr.startswith("writ: warning: with this change nobody could ever carry out policy_publish: ")
