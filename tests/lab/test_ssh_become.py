"""Root by sudo on a real host: an exact rule, a password, and each way in which sudo refuses. And polkit instead."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.lab.host_requests import hang_up, only
from tests.lab.hosts import Host
from tests.lab.installation import Writ
from tests.lab.ssh_agent import SshAgent
from tests.lab.targets import ROOT, home

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), only("ssh")]

RULES = "/etc/sudoers.d/writ"
PASSWORD = "correct: horse=battery, staple"
POLKIT = "/etc/polkit-1/rules.d/10-writ.rules"
RESTART = ("service_restart", "service_name=nginx")


@contextmanager
def rules(host: Host, *lines: str) -> Iterator[None]:
    """Rules of sudo, which visudo accepts."""
    host.write(RULES, "".join(f"{line}\n" for line in lines), "0440")
    host.run("visudo", "--check", "--strict", "--file", RULES)
    try:
        yield
    finally:
        host.run("rm", RULES)


@pytest.fixture
def rule(writ: Writ) -> str:
    """Return the sudo rule for login-sh that the documentation gives operators."""
    return str(writ.json("target", "sudoers", "by-rule")["rule"])


@pytest.fixture
def password(host: Host, over_ssh: SshAgent) -> Iterator[str]:
    """Give login-bash a password, and a rule that requires it."""
    host.run("chpasswd", stdin=f"login-bash:{PASSWORD}")
    yield PASSWORD
    over_ssh.drop_secret("by-password.sudo")
    host.run("usermod", "--password", "!", "login-bash")


def restarted(writ: Writ, host: Host, target: str) -> bool:
    """Return true if nginx restarts through that target."""
    before = host.show("nginx", "InvocationID")
    done = writ.run(*RESTART, target=target)
    return done["outcome"] == "succeeded" and host.show("nginx", "InvocationID") != before


def refusal(writ: Writ, target: str) -> tuple[str, str]:
    """Return code and message of a failing restart."""
    done = writ.run(*RESTART, target=target, status=1)
    assert done["outcome"] == "failed"
    return done["code"], done["message"]


def test_the_printed_rule_permits_root_to_hostops_and_nothing_else(writ: Writ, host: Host, rule: str) -> None:
    assert refusal(writ, "by-rule")[0] == "become_denied"
    with rules(host, rule):
        assert restarted(writ, host, "by-rule")
        assert host.ssh("login-sh", "sudo -n id")[0] == 1
        assert host.ssh("login-sh", "sudo -n /usr/bin/python3 -c pass")[0] == 1
        assert host.run("stat", "--format=%U %a", "/var/lib/writ-hostops") == "root 700"


def test_only_operations_that_need_root_run_by_sudo(writ: Writ, host: Host, rule: str) -> None:
    with rules(host, rule):
        path = f"{home('sh')}/own"
        assert writ.run("file_write", f"file_path={path}", "content=x", target="by-rule")["outcome"] == "succeeded"
        assert host.run("stat", "--format=%U", path) == "login-sh"
        host.run("rm", path)
        began = host.run("journalctl", "--identifier=sudo", "--no-pager").count("COMMAND=")
        assert writ.run("service_status", "service_name=nginx", target="by-rule")["outcome"] == "succeeded"
        assert host.run("journalctl", "--identifier=sudo", "--no-pager").count("COMMAND=") == began


def test_a_password_from_a_file_of_the_agent_opens_and_is_nowhere_else(
    writ: Writ, host: Host, over_ssh: SshAgent, rule: str, password: str
) -> None:
    with rules(host, "Defaults lecture=always", rule.replace("login-sh", "login-bash").replace("NOPASSWD: ", "")):
        code, message = refusal(writ, "by-password")
        assert (code, "asks for a password of login-bash" in message) == ("become_denied", True)
        over_ssh.put_secret("by-password.sudo", "wrong")
        code, message = refusal(writ, "by-password")
        assert (code, "sudo refuses the password of login-bash" in message) == ("become_password", True)
        assert "it is tried again in" in refusal(writ, "by-password")[1]
        over_ssh.put_secret("by-password.sudo", password)
        assert restarted(writ, host, "by-password")
        host.run("mkdir", "-p", ROOT)
        path = f"{ROOT}/by-root"
        assert writ.run("file_write", f"file_path={path}", "content=x", target="by-password")["outcome"] == "succeeded"
        assert host.run("stat", "--format=%U", path) == "root"
    assert password not in host.run("journalctl", "--no-pager", "--boot")
    assert password not in over_ssh.log.read_text()
    held = [path for path in writ.home.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert held == []


def test_a_rule_without_a_password_works_where_the_agent_has_one(
    writ: Writ, host: Host, over_ssh: SshAgent, rule: str, password: str
) -> None:
    over_ssh.put_secret("by-password.sudo", password)
    with rules(host, rule.replace("login-sh", "login-bash")):
        hang_up(host)
        assert restarted(writ, host, "by-password")


def test_error_names_the_requiretty_rule_of_sudo(writ: Writ, host: Host, rule: str) -> None:
    hang_up(host)  # a session that is open already stays root's
    with rules(host, "Defaults requiretty", rule):
        code, message = refusal(writ, "by-rule")
    assert (code, "requiretty" in message) == ("become_denied", True)


def test_a_target_test_names_what_lacks_root(writ: Writ, host: Host, rule: str) -> None:
    [plain] = writ.json("target", "test", "login-sh")
    lacking = plain["visit"]["lacking"]
    assert "login-sh is not root" in lacking["service_restart"]
    assert "login-sh is not root" in lacking["package_install"]
    [refused] = writ.json("target", "test", "by-rule")
    assert refused["visit"]["lacking"]["service_restart"].startswith("become_denied: ")
    assert "service_status" in refused["visit"]["operations"]
    assert "writ target sudoers by-rule" in refused["advice"]
    with rules(host, rule):
        [well] = writ.json("target", "test", "by-rule")
    assert {"service_restart", "package_install"} <= set(well["visit"]["operations"])
    assert well["advice"] == ""


def test_a_preview_names_what_lacks_root(writ: Writ, rule: str) -> None:
    told = writ.json("run", *RESTART, "--target", "login-sh", "--dry-run")
    assert "login-sh is not root" in str(told)


def test_a_rule_of_polkit_is_enough_without_sudo(writ: Writ, host: Host) -> None:
    code, message = refusal(writ, "login-fish")
    assert (code, "polkit" in message) == ("permission_denied", True)
    allows = 'action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "login-fish"'
    one = ' && action.lookup("unit") == "nginx.service"'
    host.write(POLKIT, f"polkit.addRule(function(action, subject) {{ if ({allows}{one}) return polkit.Result.YES; }});")
    try:
        host.run("systemctl", "restart", "polkit")
        assert restarted(writ, host, "login-fish")
    finally:
        host.run("rm", POLKIT)
        host.run("systemctl", "restart", "polkit")
