"""`writ target test` gives advice for every finding of an agent."""

import json
import re
from pathlib import Path

import pytest

from writ_cli.context.settings import Settings
from writ_cli.installation.targets.target_advice import ADVICE, OTHERWISE, advice
from writ_cli.installation.targets.target_test import _row_of, _with_commands
from writ_cli.terminal.output import Screen
from writ_contracts.requests import TargetView
from writ_contracts.target_tests import TargetReport, TargetTestStep
from writ_installation.files.home import Home
from writ_testing.each_case import each_case

SSH_AGENT = Path(__file__).parents[2] / "services" / "agent_ssh" / "writ_agent_ssh"
VIEW = TargetView(id="web1", role="testing", backend="ssh", pool="ssh")


def visit(**found: object) -> TargetReport:
    return TargetReport(target="web1", pool="ssh", instance="i", agent_version="0", **found)  # type: ignore[arg-type]


def test_every_code_by_which_a_host_is_not_reached_has_its_advice() -> None:
    code = "\n".join(path.read_text() for path in SSH_AGENT.glob("*.py"))
    raised = set(re.findall(r'code="([a-z_]+)"', code)) | set(re.findall(r'"(tailscale_[a-z_]+)"', code))
    inside = {"cancelled", "agent_restarted", "unquotable", "still_running"}  # of an operation under way
    settings = {"tailscale_node_key", "tailscale_tags"}
    assert raised - inside - settings <= ADVICE.keys()


@pytest.mark.parametrize(
    ("backend", "code", "names"),
    [
        ("docker", "unreachable", "connection.socket"),
        ("docker", "no_credentials", "WRIT_DOCKER_CREDENTIALS"),
        ("docker", "engine_refused", "API 1.44"),
        ("proxmox", "unreachable", "pveproxy"),
        ("proxmox", "auth_failed", "WRIT_PROXMOX_TOKENS"),
        ("proxmox", "no_credentials", "WRIT_PROXMOX_TOKENS"),
    ],
)
def test_a_backend_without_sshd_has_advice_of_its_own(backend: str, code: str, names: str) -> None:
    view = TargetView(id="box", role="testing", backend=backend, pool=backend)
    text = _row_of(view, visit(code=code, message="…")).advice
    assert names in text
    assert "ssh" not in text.lower()


def test_a_changed_host_key_leads_to_the_command_that_pins_another() -> None:
    assert "`writ target repin NAME`" in advice("host_key_changed", "ssh")


def test_forged_report_leads_to_its_security_event_and_not_to_the_log_of_an_agent() -> None:
    assert "`writ audit security --kind bad_signature`" in advice("bad_signature", "ssh")


def test_backend_without_target_tests_leads_to_the_message_and_not_to_a_log() -> None:
    report = visit(code="unsupported", message="agents of backend router cannot test their targets")
    assert "message below" in _row_of(VIEW, report).advice


def test_unknown_finding_leads_to_the_log() -> None:
    assert advice("what_is_this", "ssh-2") == OTHERWISE.format(pool="ssh-2")


def test_mistake_in_the_inventory_leads_there_and_not_to_a_log() -> None:
    """hostops takes no parameters for a test: an invalid value belongs to the target."""
    row = _row_of(VIEW, visit(code="invalid_parameter", message="target.backup.password_file is missing"))
    assert "inventory.yaml" in row.advice


@pytest.mark.parametrize(
    ("more", "command"),
    [
        ({}, "ssh-copy-id -f -i {key}.pub ops@web1.example.org"),
        ({"port": 2222}, "ssh-copy-id -f -i {key}.pub -p 2222 ops@web1.example.org"),
        ({"jump": [{"host": "jump", "user": "ops"}]}, ""),
    ],
)
def test_refused_key_leads_to_the_command_that_target_add_shows(
    more: dict[str, object], command: str, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    entry: dict[str, object] = {"id": "web1", "role": "testing", "backend": "ssh"}
    entry["connection"] = {"host": "web1.example.org", "user": "ops", "host_keys": ["ssh-ed25519 AAAA"], **more}
    home.inventory.write_text(json.dumps({"targets": [entry]}))
    row = _row_of(VIEW, visit(code="auth_failed", message="…"))
    here = Settings(home=home, screen=Screen("table"), environ={})
    assert _with_commands(here, [row]) == [row], "the key is elsewhere"
    key = home.ssh / "web1"
    key.parent.mkdir(parents=True)
    key.with_name("web1.pub").touch()
    expected = f"{row.advice}: `{command.format(key=key)}`" if command else row.advice
    assert [one.advice for one in _with_commands(here, [row])] == [expected]


@each_case("code", sorted(ADVICE))
def test_advice_is_one_sentence_without_placeholders(code: str) -> None:
    text = advice(code, "ssh")
    assert "{" not in text
    assert not text.endswith(".")


def test_host_without_python_is_well_and_gets_advice() -> None:
    lacking = {"file_read": "the host has no python3 (3.9 or newer)"}
    row = _row_of(VIEW, visit(operations=["service_status"], lacking=lacking))
    assert (row.well, row.code) == (True, "")
    assert row.advice == ADVICE["no_python"]
    assert _row_of(VIEW, visit(lacking={"network_scan": "no scan_networks are declared"})).advice == ""


def test_a_host_that_accepted_the_login_and_hangs_is_not_reported_as_down() -> None:
    away = [TargetTestStep(name="connection", well=False)]
    hangs = [
        TargetTestStep(name=name, well=name != "host") for name in ("connection", "host_key", "credentials", "host")
    ]
    assert _row_of(VIEW, visit(code="unreachable", steps=away)).advice == ADVICE["unreachable"]
    assert _row_of(VIEW, visit(code="unreachable", steps=hangs)).advice == ADVICE["timeout"]
