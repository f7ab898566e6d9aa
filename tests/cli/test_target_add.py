"""`writ target add`, without a running installation.

The enrolment module of the agent runs in the test's process, which has loaded asyncssh: that takes a new one 0.4 s of
processor time, and each command starts two or three. Tests of e2e start them, such as test_first_ssh_host.
"""

import io
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from writ_agent_ssh import enrolment
from writ_cli.main import cli
from writ_documents.readers import read_inventory
from writ_installation.backends import MODULE
from writ_installation.files.home import host_token
from writ_installation.provisioner.folders import init
from writ_testing.each_case import each_case
from writ_testing.peers.sshd import make_key

ENROLMENT = (*MODULE, enrolment.__name__)


@pytest.fixture(autouse=True)
def enrolment_here(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.run

    def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if tuple(command[: len(ENROLMENT)]) != ENROLMENT:
            return start(command, **options)
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
            patch.setattr(sys, "argv", [*command[len(MODULE) :]])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(options["input"])))
            enrolment.main()
        return subprocess.CompletedProcess(command, 0, out.getvalue().encode(), b"")

    monkeypatch.setattr(subprocess, "run", run)


def _shown_key(folder: Path, name: str) -> tuple[Path, str]:
    (folder / name).unlink(missing_ok=True)
    make_key(folder / name)
    kind, data, _ = (folder / f"{name}.pub").read_text().split()
    return folder / name, f"{kind} {data}"


def _add(folder: Path, *words: str) -> Result:
    _, host_key = _shown_key(folder, "host_key")
    home = {"WRIT_HOME": str(folder / "home"), "HOME": str(folder)}
    return CliRunner(env=home).invoke(
        cli, ["target", "add", "web1", "--role", "testing", "--host-key", host_key, *words]
    )


def _add_local(folder: Path, name: str, *words: str) -> Result:
    home = {"WRIT_HOME": str(folder / "home"), "HOME": str(folder)}
    return CliRunner(env=home).invoke(cli, ["target", "add", name, "--role", "testing", *words])


def test_add_looks_an_alias_of_the_ssh_config_up_once(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    config = "Host web\n  HostName web1.example.org\n  User ops\n  Port 2222\nHost far\n  ProxyJump a@b\n"
    (tmp_path / ".ssh" / "config").write_text(config)
    (tmp_path / "password").write_text("one two\n")
    for alias, reason in (("far", "has a ProxyJump or ProxyCommand"), ("wbe", "has no such host")):
        refused = _add(tmp_path, "--ssh", alias)
        assert (refused.exit_code, reason in refused.stderr) == (2, True), refused.stderr
    root = ("--become", "sudo", "--sudo-password-file", str(tmp_path / "password"))
    done = _add(tmp_path, "--ssh", "web", *root, "-o", "json")
    assert done.exit_code == 0, done.stderr
    connection = msgspec.json.decode(done.stdout)["target"]["connection"]
    expected = {"host": "web1.example.org", "user": "ops", "port": 2222, "become": "sudo"}
    assert {name: connection[name] for name in expected} == expected
    secret = tmp_path / "home" / "keys" / "ssh" / "web1.sudo"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("one two\n", 0o600)
    assert "one two" not in done.stdout + (tmp_path / "home" / "inventory.yaml").read_text()
    sudoers = CliRunner(env={"WRIT_HOME": str(tmp_path / "home")}).invoke(cli, ["target", "sudoers", "web1"])
    assert sudoers.stdout.startswith("ops ALL=(root) NOPASSWD: /usr/bin/python3 -I -S -c ")


@each_case(
    ("given", "host", "port"),
    [
        ("ops@[::1]:2222", "::1", 2222),
        ("ops@::1", "::1", 22),
        ("ops@fd00::22", "fd00::22", 22),
        ("ops@[fe80::1%eth0]", "fe80::1%eth0", 22),
        ("ops@fe80::1%eth0", "fe80::1%eth0", 22),
        ("six", "::1", 2222),
        ("zone", "fe80::1%eth0", 22),
    ],
)
def test_add_takes_an_ipv6_address(given: str, host: str, port: int) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / ".ssh").mkdir()
        config = "Host six\n  HostName ::1\n  User ops\n  Port 2222\nHost zone\n  HostName fe80::1%%eth0\n  User ops\n"
        (Path(folder) / ".ssh" / "config").write_text(config)
        done = _add(Path(folder), "--ssh", given, "-o", "json")
    assert done.exit_code == 0, done.stderr
    connection = msgspec.json.decode(done.stdout)["target"]["connection"]
    assert (connection["host"], connection.get("port", 22), connection["user"]) == (host, port, "ops")


@pytest.mark.parametrize("given", ["ops@1::2::3", "ops@[::1]:70000", "ops@[web.example]", "ops@[::1", "::1"])
def test_add_refuses_what_is_no_ipv6_address(tmp_path: Path, given: str) -> None:
    done = _add(tmp_path, "--ssh", given)
    assert (done.exit_code, "is not USER@HOST[:PORT]" in done.stderr) == (2, True), done.stderr


def test_add_in_a_container_prints_a_command_for_the_folder_outside_of_it(tmp_path: Path) -> None:
    init(tmp_path / "home", 1)
    done = _add(tmp_path, "--ssh", "ops@web1.example.org")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[3:5] == [
        "or, outside of the container, in the folder that has home, run:",
        "  ssh-copy-id -f -i home/keys/ssh/web1.pub ops@web1.example.org",
    ]


def test_add_says_that_a_pool_is_new_whose_name_is_like_another(tmp_path: Path) -> None:
    for pool, said in (("sshh", "writ: pool sshh is new; did you mean 'ssh'?\n"), ("dmz", "")):
        folder = tmp_path / pool
        folder.mkdir()
        done = _add(folder, "--ssh", "ops@web1.example.org", "--pool", pool)
        assert (done.exit_code, done.stderr) == (0, said)


def test_add_gives_the_target_its_tags(tmp_path: Path) -> None:
    kinds = (("--ssh", "ops@web1.example.org"), ("--docker", "/var/run/docker.sock"))
    for number, kind in enumerate(kinds):
        folder = tmp_path / str(number)
        folder.mkdir()
        key = () if kind[0] == "--docker" else ("--host-key", _shown_key(folder, "host_key")[1])
        words = ["target", "add", "web1", "--role", "testing", *kind, *key, "--tag", "web", "--tag", "eu"]
        runner = CliRunner(env={"WRIT_HOME": str(folder / "home"), "HOME": str(folder)})
        refused = runner.invoke(cli, [*words, "--tag", "x" * 256])
        assert (refused.exit_code, "cannot be a tag" in refused.stderr) == (2, True), refused.stderr
        done = runner.invoke(cli, [*words, "-o", "json"])
        assert done.exit_code == 0, done.stderr
        assert msgspec.json.decode(done.stdout)["target"]["tags"] == ["web", "eu"]


def test_add_of_a_host_with_its_own_agent_writes_its_entry_and_names_the_next_steps(tmp_path: Path) -> None:
    done = _add_local(tmp_path, "web1", "--local", "web1", "--file-root", "/srv/app", "--tag", "web")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "web1 is a target now, of role testing, for agents of pool local-web1",
        "Install the agent on web1, and enrol it there with a token (docs/install.md):",
        "  writ agent token local-web1    here",
        "  writ-enrol                     on web1",
    ]
    target = read_inventory(tmp_path / "home" / "inventory.yaml").targets[-1]
    assert (target.backend, target.pool, target.tags) == ("local", "local-web1", ["web"])
    assert target.roots()[0].path == "/srv/app"


def test_add_of_this_host_says_that_its_agent_serves_it(tmp_path: Path) -> None:
    here = _add_local(tmp_path, "again", "--local", host_token())
    assert "The agent of this machine serves it." in here.stdout, here.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--local", "web2.example.org"), "gives no name of a pool"),
        (("--local", "web2", "--become", "sudo"), "--become does not apply to a host with an agent of its own"),
        (("--local", "web2", "--file-root", "srv"), "'srv' is not an absolute path"),
        (("--local", "web2", "--ssh", "a@b"), "give one of --ssh USER@HOST, --local HOST"),
    ],
)
def test_add_of_a_host_with_its_own_agent_refuses_what_does_not_apply(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    refused = _add_local(tmp_path, "web2", *words)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
    inventory = tmp_path / "home" / "inventory.yaml"
    assert not inventory.exists() or "web2" not in [one.id for one in read_inventory(inventory).targets]


def test_add_of_a_host_with_its_own_agent_takes_the_name_of_its_pool(tmp_path: Path) -> None:
    done = _add_local(tmp_path, "web2", "--local", "web2.example.org", "--pool", "fleet", "-o", "json")
    assert msgspec.json.decode(done.stdout)["pool"] == "fleet"


def test_add_takes_the_public_half_of_a_key_in_an_ssh_agent(tmp_path: Path) -> None:
    key, line = _shown_key(tmp_path, "held")
    done = _add(tmp_path, "--ssh", "ops@web1.example.org", "--key", f"{key}.pub", "-o", "json")
    assert done.exit_code == 0, done.stderr
    folder = tmp_path / "home" / "keys" / "ssh"
    assert (folder / "web1.pub").read_text() == f"{line} writ-web1\n"
    assert not (folder / "web1").exists()


def test_add_refuses_an_encrypted_key_without_its_passphrase(tmp_path: Path) -> None:
    key, _ = _shown_key(tmp_path, "locked")
    plain = key.read_bytes()
    command = [sys.executable, "-c", _ENCRYPT]
    key.write_bytes(subprocess.run(command, input=plain, capture_output=True, check=True).stdout)
    refused = _add(tmp_path, "--ssh", "ops@web1.example.org", "--key", str(key))
    assert (refused.exit_code, "--passphrase-file" in refused.stderr) == (2, True), refused.stderr
    (tmp_path / "passphrase").write_text("one two")
    added = _add(
        tmp_path, "--ssh", "ops@web1.example.org", "--key", str(key), "--passphrase-file", f"{tmp_path}/passphrase"
    )
    assert added.exit_code == 0, added.stderr
    assert (tmp_path / "home" / "keys" / "ssh" / "web1.passphrase").read_text() == "one two\n"


_ENCRYPT = """
import sys, asyncssh
key = asyncssh.import_private_key(sys.stdin.buffer.read())
sys.stdout.buffer.write(key.export_private_key("pkcs8-pem", passphrase="one two"))
"""
