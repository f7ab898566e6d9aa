"""Inventory, principals, agents and private keys, as files on a disk."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError
from writ_documents.document import FileErrors
from writ_documents.readers import read_agents, read_inventory, read_people, read_principals

ALICE, BOB = "U" + "A" * 55, "U" + "B" * 55


def file(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text)
    return path


def problem_lines(caught: pytest.ExceptionInfo[FileErrors]) -> list[str]:
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in caught.value.found]


def test_the_inventory_of_the_documentation_is_read(tmp_path: Path) -> None:
    text = """\
targets:
  - id: prod-web-01            # [A-Za-z0-9_-]{1,64}
    role: production
    backend: ssh
    agent: ssh-eu
    attributes: {criticality: high, owner: payments}
    gateway: gw-1
    tags: [web, eu]
    connection: {host: web-01.internal, port: 22, user: writ, known_hosts: deploy/known_hosts, via: tailscale}
    capabilities: [service_*, file_read]
    file_roots: [/srv/app, {path: /etc, allow_system_root: true}]
  - {id: gw-1, role: gateway, backend: local}
"""
    first, second = read_inventory(file(tmp_path, text)).targets
    assert (first.pool, first.connection["port"], second.pool) == ("ssh-eu", 22, "local-gw-1")
    assert [(root.path, root.allow_system_root) for root in first.roots()] == [("/srv/app", False), ("/etc", True)]


def test_an_inventory_that_contradicts_itself_is_refused_whole(tmp_path: Path) -> None:
    text = """\
targets:
  - {id: a, role: production, backend: ssh, gateway: nowhere}
  - {id: a, role: production, backend: ssh}
  - {id: writ, role: gateway, backend: writ}
"""
    with pytest.raises(FileErrors) as caught:
        read_inventory(file(tmp_path, text))
    assert problem_lines(caught) == [
        "2:54 there is no target 'nowhere'",
        "3:10 the id 'a' occurs twice",
        "4:10 'writ' is reserved for Writ itself: choose another id",
    ]


def test_destinations_of_backups_and_scans_are_checked_in_the_inventory(tmp_path: Path) -> None:
    text = """targets:
  - {id: web-1, role: production, backend: local, scan_networks: [10.0.0.0/8, "fe80::/10", everywhere, 10.0.0.0/33]}
  - {id: web-2, role: production, backend: local, backup: {repository: /srv/vault, password_file: /etc/pw}}
"""
    with pytest.raises(FileErrors) as caught:
        read_inventory(file(tmp_path, text))
    assert [problem.message for problem in caught.value.found] == [
        "'everywhere' is not a network such as 192.0.2.0/24",
        "'10.0.0.0/33' is not a network such as 192.0.2.0/24",
    ]
    for backup, message in {
        "{repository: /srv/vault}": "the key 'password_file' is missing",
        "{repository: /srv/vault, password_file: pw}": "expected a path that begins with /",
        "{repository: /srv/vault, password_file: /pw, user: me}": (
            "unknown key 'user'; known are repository, password_file, host"
        ),
        '{repository: "/srv/vault\\n", password_file: /pw}': "expected one line of text",
    }.items():
        wrong = f"targets: [{{id: web-1, role: production, backend: local, backup: {backup}}}]"
        with pytest.raises(FileErrors) as caught:
            read_inventory(file(tmp_path, wrong))
        assert [problem.message for problem in caught.value.found] == [message]


@pytest.mark.parametrize("bad", ["web.1", "a b", "", "x" * 65, "*", '"a\\n"'])
def test_an_id_that_is_no_subject_token_is_refused(tmp_path: Path, bad: str) -> None:
    with pytest.raises(FileErrors):
        read_inventory(file(tmp_path, f"targets: [{{id: {bad}, role: production, backend: ssh}}]"))


def test_principals_act_for_humans_that_exist(tmp_path: Path) -> None:
    good = f"""\
principals:
  - {{id: alice, kind: human, roles: [operator], key: {ALICE}}}
  - {{id: copilot, kind: agent, acts_for: alice, roles: [assistant], key: {BOB}}}
"""
    assert [entry.acts_for for entry in read_principals(file(tmp_path, good)).principals] == [None, "alice"]
    bad = f"""\
principals:
  - {{id: alice, kind: human, acts_for: bob, key: {ALICE}}}
  - {{id: copilot, kind: agent, acts_for: copilot, key: {ALICE}}}
"""
    with pytest.raises(FileErrors) as caught:
        read_principals(file(tmp_path, bad))
    assert problem_lines(caught) == [
        "2:40 there is no human 'bob' to act for",
        "2:40 a human does not act for others: remove acts_for",
        "3:42 there is no human 'copilot' to act for",
        f"3:56 the key '{ALICE}' occurs twice",
    ]


def test_an_agent_key_serves_one_pool(tmp_path: Path) -> None:
    good = f"agents:\n- {{pool: ssh, key: {ALICE}}}\n- {{pool: ssh, key: {BOB}}}\n"
    assert [agent.pool for agent in read_agents(file(tmp_path, good)).agents] == ["ssh", "ssh"]
    with pytest.raises(FileErrors, match="occurs twice"):
        read_agents(file(tmp_path, f"agents:\n- {{pool: ssh, key: {ALICE}}}\n- {{pool: docker, key: {ALICE}}}\n"))


def test_a_private_key_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "alice.seed"
    path.write_bytes(b"SUAAA\n")
    path.chmod(0o600)
    assert read_private(path) == b"SUAAA"
    path.chmod(0o400)
    assert read_private(path) == b"SUAAA"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601])
def test_a_private_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "alice.seed"
    path.write_bytes(b"SUAAA")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"others can read it .mode {mode:04o}.: chmod 600"):
        read_private(path)


def test_malformed_key_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "empty").touch(0o600)
    large = tmp_path / "large"
    large.write_bytes(b"a" * 5000)
    large.chmod(0o600)
    for name, why in (
        ("absent", "No such file"),
        ("pipe", "not a regular file"),
        ("empty", "holds no key"),
        ("large", "holds no key"),
        (".", "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=why):
            read_private(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_private_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alice.seed"
    path.write_bytes(b"SUAAA")
    path.chmod(0o600)
    os.chown(path, 1234, -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        read_private(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_refused_key_of_a_user_with_a_name_says_how_to_act_as_that_user(tmp_path: Path) -> None:
    """Also in cron, whose PATH is short."""
    path = tmp_path / "alice.seed"
    path.write_bytes(b"SUAAA")
    path.chmod(0o600)
    nobody = pwd.getpwnam("nobody")
    os.chown(path, nobody.pw_uid, -1)
    with pytest.raises(ConfigError) as refused:
        read_private(path)
    own = pwd.getpwuid(os.geteuid()).pw_name
    assert str(refused.value).endswith(
        "run the command as that user (`su nobody -c 'COMMAND'`), in cron by that user's crontab;"
        f" if the key is yours, `chown {own} {path}`"
    )
    su = ["su", "nobody", "-s", "/bin/sh", "-c", "id -u"]
    done = subprocess.run(su, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{nobody.pw_uid}\n"
    subprocess.run(["chown", own, path], check=True)
    assert read_private(path) == b"SUAAA"


def test_principals_without_keys_suffice_for_decisions_and_not_for_authentication(tmp_path: Path) -> None:
    text = """
        principals:
          - {id: alice, kind: human, roles: [operator]}
          - {id: bob, kind: human}
          - {id: copilot, kind: agent, acts_for: alice}
    """
    path = file(tmp_path, text)
    assert [one.id for one in read_people(path).principals] == ["alice", "bob", "copilot"]
    with pytest.raises(FileErrors, match="the key 'key' is missing"):
        read_principals(path)
    with pytest.raises(FileErrors, match="there is no human 'zed' to act for"):
        read_people(file(tmp_path, text.replace("acts_for: alice", "acts_for: zed")))


def test_a_person_is_declared_by_humans_alone_and_is_one_person(tmp_path: Path) -> None:
    good = """
        principals:
          - {id: alice, kind: human}
          - {id: alice-oncall, kind: human, person: alice}
          - {id: bob, kind: human, person: robert}
          - {id: bob2, kind: human, person: robert}
    """
    assert [one.person for one in read_people(file(tmp_path, good)).principals] == [None, "alice", "robert", "robert"]
    bad = """
        principals:
          - {id: alice, kind: human, person: al}
          - {id: alice-oncall, kind: human, person: alice}
          - {id: copilot, kind: agent, acts_for: alice, person: carol}
    """
    with pytest.raises(FileErrors) as caught:
        read_people(file(tmp_path, bad))
    assert [problem.message for problem in caught.value.found] == [
        "'alice' is not the id of a person: that principal has another",
        "only a human has `person`; a principal of kind agent has `acts_for`",
    ]
