"""docs/get-started.md, typed line by line as a new user would, on a host with nothing of Writ's on it."""

import fcntl
import os
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.lab.host_requests import hang_up
from tests.lab.hosts import Host, public_key, user_key
from tests.lab.installation import WRIT

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docs" / "get-started.md").read_text()
HOST = "web1.example.org"
PROMPT = "(yes or no): "
STAMP = ".installed"
"""Made by `make setup` in the virtual environment (Makefile)."""
WITHIN = 90.0
AS_USUAL = "/etc/ssh/sshd_config.d/as-usual.conf"
"""Read before lab.conf, which lets the lab's own keys in and no others: a host as people have it."""
pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


class Typed(NamedTuple):
    """A command, and its output according to the text."""

    command: str
    shown: list[str]


def commands(text: str) -> list[Typed]:
    found: list[Typed] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Typed(line[2:], []))
            else:
                found[-1].shown.append(line)
    return found


class Terminal:
    """A wide terminal in a folder; exported variables persist. It answers a prompt with `answer`."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder, self.environ = folder, environ
        self.exports: list[str] = []

    def type(self, command: str, answer: str = "") -> str:
        """Return the output until the command ends; it must succeed."""
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 250, 0, 0))
        script = "\n".join([*self.exports, command])
        with subprocess.Popen(
            ["bash", "-c", script],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
            env=self.environ,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            output = self._read(process, ours, answer)
        os.close(ours)
        assert process.returncode == 0, f"{command}: {output}"
        if command.startswith("export "):
            self.exports.append(command)
        return output

    @staticmethod
    def _read(process: "subprocess.Popen[bytes]", ours: int, answer: str) -> str:
        output, answered, deadline = b"", False, time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            ready = select.select([ours], [], [], 0.1)[0]
            try:
                piece = os.read(ours, 65536) if ready else b""
            except OSError:  # the other end is closed
                break
            output += piece
            if answer and not answered and output.endswith(PROMPT.encode()):
                os.write(ours, answer.encode() + b"\n")
                answered = True
            if not piece and process.poll() is not None:
                break
        else:
            process.kill()
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode()).replace("\r", "")


def assert_shown(expected: list[str], output: str) -> None:
    """Each line of the text, in this order; `…` stands for anything."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    for line in expected:
        words = " ".join(line.split())
        if words == "…":
            continue
        pattern = re.compile(".*".join(map(re.escape, words.split("…"))))
        at = next((number for number, one in enumerate(lines) if pattern.match(one)), None)
        assert at is not None, f"{line!r} is not shown, but:\n{output}"
        lines = lines[at + 1 :]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the repository without an installation in it, whose `make setup` has been done.

    Its stamp is its own: `make` would empty the repository's virtual environment for a newer Makefile or lock.
    """
    made = tmp_path / "writ"
    link_entries(made, REPOSITORY, leave_out={".git", ".writ", ".venv"})
    link_entries(made / ".venv", Path(sys.prefix), leave_out={STAMP})
    (made / ".venv" / STAMP).touch()
    return made


def link_entries(folder: Path, of: Path, leave_out: Collection[str]) -> None:
    """Make a folder with links to the entries of another one."""
    folder.mkdir()
    for entry in of.iterdir():
        if entry.name not in leave_out:
            (folder / entry.name).symlink_to(entry)


@pytest.fixture
def terminal(folder: Path, far_host: Host, tmp_path: Path) -> Iterator[Terminal]:
    """Yield the terminal of a user with `ssh` access to the host."""
    known = tmp_path / "known_hosts"
    known.write_text(f"{far_host.address} {far_host.host_key}\n")
    config = tmp_path / "ssh_config"
    config.write_text(f"Host *\n  IdentityFile {user_key()}\n  UserKnownHostsFile {known}\n  BatchMode yes\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    ssh = tools / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    ssh.chmod(0o755)
    others = ("WRIT_", "NATS_", "SYSTEMM", "VENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    far_host.write(AS_USUAL, "AuthorizedKeysFile /etc/ssh/lab_keys .ssh/authorized_keys\n")
    far_host.run("systemctl", "reload", "ssh")
    own = tmp_path / "home"
    (own / ".ssh").mkdir(mode=0o700, parents=True)
    made = Terminal(
        folder,
        {
            **kept,
            "HOME": str(own),
            "PATH": f"{tools}:{kept['PATH']}",
            "TERM": "xterm",
            "COLUMNS": "250",
            "WRIT_NATS_PORT": "0",
        },
    )
    try:
        yield made
    finally:
        subprocess.run([WRIT, "down"], cwd=folder, env=made.environ, check=False)
        hang_up(far_host)
        far_host.run("rm", "-rf", AS_USUAL, "/root/" + ".ssh", "/var/lib/writ-hostops")
        far_host.run("systemctl", "reload", "ssh")


def test_the_text_as_it_stands_restarts_a_service_on_a_first_ssh_host(terminal: Terminal, far_host: Host) -> None:
    before = far_host.show("nginx", "InvocationID")
    output = {}
    for typed in commands(TEXT.replace(HOST, far_host.address)):
        answer = next((line.partition(PROMPT)[2] for line in typed.shown if PROMPT in line), "")
        output[" ".join(typed.command.split()[:3])] = shown = terminal.type(typed.command, answer)
        assert_shown(typed.shown, shown)
    fingerprint = far_host.run("ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert fingerprint in output["writ target add"]
    assert far_host.show("nginx", "InvocationID") != before
    inventory = (terminal.folder / ".writ" / "inventory.yaml").read_text()
    assert public_key(far_host.name) in inventory


def test_a_first_ssh_host_takes_less_than_ten_lines_to_type() -> None:
    section = TEXT.partition("## A first SSH host")[2].partition("\n## ")[0]
    typed = commands(section)
    assert 0 < len(typed) < 10
    assert any(one.command.startswith("writ run service_restart") for one in typed)
