"""A real sshd on loopback, as the user that runs the tests: throw-away keys, any shell, any options."""

import asyncio
import os
import pwd
import signal
import subprocess
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from writ_contracts.inventory import Target
from writ_installation.processes.child import tie
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.programs import program

USER = pwd.getpwuid(os.geteuid()).pw_name


class Sshd:
    """One server. Keys are files in `folder`; `log` is its log."""

    def __init__(self, folder: Path, port: int, options: Sequence[str], environ: Mapping[str, str]) -> None:
        self.folder, self.port, self.options = folder, port, options
        # What the shell of this user does at its start is nobody's business.
        self._environ = {"HOME": str(folder), **environ}
        self.log = folder / "sshd.log"
        self.keys = folder / "keys"
        self.known_hosts = folder / "known_hosts"
        self.process: Process | None = None
        self._starts = 0
        self._let_in: set[str] = set()

    @property
    def host_folder(self) -> Path:
        """Return Writ's own folder on this host."""
        return self.folder / "writ-hostops"

    def connection(self, **more: Any) -> dict[str, Any]:
        """Return the `connection` of an inventory entry."""
        port = more.pop("port", self.port)
        return {"host": "127.0.0.1", "port": port, "user": USER, "folder": str(self.host_folder), **more}

    def target(self, name: str = "web1", *, connection: dict[str, Any] | None = None, **more: Any) -> Target:
        """Return a target on this server with an accepted key of its own."""
        self.authorize(name)
        return Target(id=name, role="testing", backend="ssh", connection=connection or self.connection(), **more)

    def authorize(self, name: str) -> None:
        """Make a key of this name, and accept it."""
        if name not in self._let_in:
            self._let_in.add(name)
            path = self.keys / name
            make_key(path)
            with (self.folder / "authorized_keys").open("a") as file:
                file.write(path.with_name(f"{name}.pub").read_text())

    def trust(self, ports: Sequence[int] = ()) -> None:
        """Add its host key to known_hosts, for its own port and these."""
        key = (self.folder / "host_key.pub").read_text().rpartition(" ")[0]
        lines = [f"[127.0.0.1]:{port} {key}\n" for port in (self.port, *ports)]
        self.known_hosts.write_text("".join(lines))

    async def start(self) -> None:
        """Start it and wait until it listens."""
        sshd = program("sshd")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text("\n".join([*self.options, *self._config()]) + "\n")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(*tie(), sshd, "-D", "-e", "-f", str(config)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._starts += 1
        await eventually(self._listens)

    async def stop(self) -> None:
        """Stop it with all its sessions."""
        if self.process is not None and self.process.returncode is None:
            for pid in [*self.sessions(), self.process.pid]:
                _kill(pid)
            await self.process.wait()

    def sessions(self) -> list[int]:
        """Return the processes of its connections."""
        return descendants(self.process.pid) if self.process is not None else []

    def _config(self) -> list[str]:
        # Of MaxStartups sshd reads the last line, unlike others.
        limited = any(line.startswith("MaxStartups") for line in self.options)
        return [
            *([] if limited else ["MaxStartups 100"]),
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host_key",
            f"PidFile {self.folder}/sshd.pid",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "LogLevel VERBOSE",
            # sshd reads the first SetEnv only.
            f"SetEnv {' '.join(f'{name}={value}' for name, value in self._environ.items())}",
        ]

    async def _listens(self) -> bool:
        addresses = 1 + sum(line.startswith("ListenAddress") for line in self.options)
        return self.log.read_bytes().count(b"Server listening") == self._starts * addresses


@asynccontextmanager
async def sshd(
    folder: Path, *options: str, shell: str = "", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Sshd]:
    """Yield a listening server with its host key in known_hosts.

    `shell`: runs commands instead of the user's login shell, and gets the same string. `options`: lines of sshd_config.
    `environ`: variables of its sessions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "host_key")
    (folder / "keys").mkdir(mode=0o700)
    (folder / "authorized_keys").touch()
    by_shell = [f'ForceCommand exec {program(shell)} -c "$SSH_ORIGINAL_COMMAND"'] if shell else []
    server = Sshd(folder, free_port(), [*by_shell, *options], environ or {})
    server.trust()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def make_key(path: Path, kind: str = "ed25519") -> None:
    """Make a key without a passphrase, and its `.pub`."""
    command = [program("ssh-keygen"), "-q", "-t", kind, "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def descendants(pid: int) -> list[int]:
    """Return all descendants that still have their parents."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return []
    found = [int(child) for child in children.split()]
    return [*found, *(grandchild for child in found for grandchild in descendants(child))]


@contextmanager
def paused(pids: Sequence[int]) -> Iterator[None]:
    """Stop these processes (SIGSTOP) within the block: a host that hangs."""
    try:
        _send(pids, signal.SIGSTOP)
        yield
    finally:
        _send(pids, signal.SIGCONT)


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
