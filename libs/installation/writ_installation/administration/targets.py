"""Addition of an SSH target to `$WRIT_HOME`: its entry with the pinned host key, and its agent's private key.

Knowledge of SSH is in the SSH agent's own module, which is named here and never imported. No host key is trusted
because the host shows it: a person compares it, or names it beforehand.
"""

import asyncio
import re
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from writ_contracts.backends import SSH
from writ_contracts.errors import ConfigError, Conflict, Invalid, Unreachable, Untrusted
from writ_contracts.host_addresses import HOST_NAME, IPV6, ZONE, bare_host
from writ_contracts.ids import TargetId
from writ_contracts.inventory import Name, Target
from writ_documents.readers import read_inventory
from writ_installation.backends import MODULE
from writ_installation.files import list_edits, ssh_keys
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.processes.report import read_report
from writ_runtime.signals import interruptible

ENROL_SECONDS = 60.0
"""More than the two connections, as its user and as root, that the cleaning of a host may take."""
SERVED_WITHIN = 20.0
PAUSE = 0.1
_USER = r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})"
_V6 = rf"{IPV6}(?:{ZONE})?"
_ADDRESS = re.compile(rf"{_USER}@(?P<host>{HOST_NAME}|\[{_V6}\])(?::(?P<port>[1-9][0-9]{{0,4}}))?")
_WITHOUT_PORT = re.compile(rf"{_USER}@(?P<host>{_V6})")
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


class HostKey(Struct, frozen=True):
    """`line` is the known_hosts line after the name; `fingerprint` as ssh shows it."""

    line: str
    fingerprint: str


class SshAddress(Struct, frozen=True):
    """User, host and port."""

    user: str
    host: str
    port: int = 22

    @property
    def endpoint(self) -> str:
        """Return the host, with the port where it is not SSH's own."""
        if self.port == 22:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NewTarget(Struct, frozen=True, kw_only=True):
    """The target to add. `key_file`: a private key to use instead of a new one, with its `passphrase`, or the
    public half of one in an ssh-agent. `more`: further keys of its entry.
    """

    name: str
    role: str
    address: SshAddress
    pool: str | None = None
    file_roots: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    key_file: Path | None = None
    passphrase: bytes = b""
    become: str | None = None
    sudo_password: bytes = b""
    more: dict[str, Any] = {}


class AddedTarget(Struct, frozen=True, kw_only=True):
    """`public_key` belongs into authorized_keys on the host. `served`: an agent here is ready for it; None where Writ
    is not up.
    """

    target: Target
    host_key: HostKey
    key_file: str
    public_key: str
    served: bool | None


def address_of(text: str, ssh_config: Path | None = None) -> SshAddress:
    """Parse `USER@HOST[:PORT]` or an alias of this ssh_config(5) file. An IPv6 address with a port needs brackets.
    Raises Invalid.

    The address of the alias is taken once: agents read no such file.
    """
    if ssh_config is not None and _ALIAS.fullmatch(text) and ssh_config.exists():
        found = _enrol(["resolve", text, str(ssh_config)])
        return SshAddress(found["user"], found["host"], int(found["port"]))
    parts = _ADDRESS.fullmatch(text) or _WITHOUT_PORT.fullmatch(text)
    port = int(parts.groupdict().get("port") or 22) if parts else 0
    if parts is None or port > 65535:
        raise Invalid(f"{text[:200]!r} is not USER@HOST[:PORT]")
    try:
        return SshAddress(parts["user"], bare_host(parts["host"]), port)
    except ValueError as error:
        raise Invalid(f"{text[:200]!r} is not USER@HOST[:PORT]: {error}") from None


def refuse_relative(file_roots: Iterable[str]) -> None:
    """Raises Invalid: a relative root would make the target refuse every operation."""
    for folder in file_roots:
        if not folder.startswith("/"):
            raise Invalid(f"the file root {folder[:200]!r} is not an absolute path")


def verified_host_key(host_key: str, address: SshAddress, confirm: Callable[[HostKey], bool]) -> HostKey:
    """Return the host key to pin: the given line, or the key the host shows if its fingerprint is the given one or
    somebody confirms it. Raises Untrusted for another one, Unreachable, Invalid.
    """
    if host_key and not host_key.startswith("SHA256:"):
        return msgspec.convert(_enrol(["fingerprint"], host_key.encode()), HostKey)
    shown = msgspec.convert(_enrol(["host-key", address.host, str(address.port)]), HostKey)
    if host_key and host_key != shown.fingerprint:
        message = f"{address.host} shows {shown.fingerprint}, not the host key that you gave; nothing was changed"
        raise Untrusted(message, code="host_key_changed")
    if not host_key and not confirm(shown):
        raise Untrusted("the host key was not confirmed; nothing was changed", code="host_key_unknown")
    return shown


def refuse_name(name: str) -> None:
    """Raises Invalid for an impossible name."""
    try:
        msgspec.convert(name, TargetId)
    except msgspec.ValidationError:
        raise Invalid(f"{name[:80]!r} cannot name a target: letters, digits, - and _, at most 64") from None


def refuse_tags(tags: Iterable[str]) -> None:
    """Raises Invalid for an impossible tag."""
    for tag in tags:
        try:
            msgspec.convert(tag, Name)
        except msgspec.ValidationError:
            raise Invalid(f"{tag[:80]!r} cannot be a tag, which has 1 to 255 characters") from None


def refuse_known(home: Home, name: str) -> None:
    """Raises Conflict where a target has this name."""
    create_installation(home)
    if name in {target.id for target in read_inventory(home.inventory).targets}:
        raise Conflict(f"there is a target {name} already")


async def add_ssh_target(home: Home, new: NewTarget, host_key: HostKey) -> AddedTarget:
    """Add the target with a key of its own; return when a running Writ has an agent for it. Raises Conflict,
    Invalid.
    """
    refuse_known(home, new.name)
    path, public = _make_key(home, new)
    address = new.address
    connection: dict[str, Any] = {"host": address.host, "user": address.user, "host_keys": [host_key.line]}
    entry: dict[str, Any] = {"id": new.name, "role": new.role, "backend": SSH}
    if new.pool is not None:
        entry["agent"] = new.pool
    if new.become is not None:
        connection["become"] = new.become
    if new.sudo_password:
        ssh_keys.put_secret(home, f"{new.name}.sudo", new.sudo_password + b"\n")
    entry["connection"] = connection if address.port == 22 else {**connection, "port": address.port}
    if new.file_roots:
        entry["file_roots"] = list(new.file_roots)
    if new.tags:
        entry["tags"] = list(new.tags)
    target = put_entry(home, entry | new.more)
    served = await served_within(home, target)
    return AddedTarget(target=target, host_key=host_key, key_file=str(path), public_key=public, served=served)


def put_entry(home: Home, entry: dict[str, Any]) -> Target:
    """Add an entry to the inventory, and return it as it is read. Raises Conflict, Invalid."""
    list_edits.append(home.inventory, "targets", entry, unique="id")
    try:
        return next(one for one in read_inventory(home.inventory).targets if one.id == entry["id"])
    except ConfigError as error:
        raise Invalid(f"the target is in {home.inventory}, which cannot be used as it is: {error}") from error


def _make_key(home: Home, new: NewTarget) -> tuple[Path, str]:
    """Return the private key's file, and its public half in authorized_keys form."""
    path = home.ssh / new.name
    if path.exists() and new.key_file is not None and path.read_bytes() != new.key_file.read_bytes():
        raise Conflict(f"{path} has another key than {new.key_file}: remove the one that {new.name} should not have")
    source = path if path.exists() else new.key_file
    if source is None:
        made = _enrol(["new-key", f"writ {new.name}"])
        private, line = made["private"].encode(), made["line"]
    else:
        private = source.read_bytes()
        line = _public_half(private, new.passphrase)
    public = f"{line} writ-{new.name}"
    if private.startswith(_PUBLIC):
        return ssh_keys.put_public(home, new.name, f"{public}\n".encode()), public
    if new.passphrase:
        ssh_keys.put_secret(home, f"{new.name}.passphrase", new.passphrase + b"\n")
    return ssh_keys.put(home, new.name, private, f"{public}\n".encode()), public


def _public_half(key: bytes, passphrase: bytes) -> str:
    """Return the public line of a key: of a private one, or of one that an ssh-agent keeps."""
    if key.startswith(_PUBLIC):
        return _enrol(["fingerprint"], key)["line"]
    if passphrase:
        return _enrol(["read-key-with-passphrase"], passphrase + b"\n" + key)["line"]
    return _enrol(["read-key"], key)["line"]


def _enrol(words: list[str], stdin: bytes = b"") -> dict[str, str]:
    return ask_agent(SSH, words, stdin)


def ask_agent(backend: str, words: list[str], stdin: bytes = b"") -> dict[str, str]:
    """Return the answer of the enrolment module of a backend's agent. Raises Unreachable, Invalid."""
    command = [*MODULE, f"writ_agent_{backend}.enrolment", *words]
    try:
        with interruptible():
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=ENROL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        limit = f"{ENROL_SECONDS:g} s"
        raise Unreachable(
            f"the agent of backend {backend} did not reply within {limit}: is the host reachable?"
        ) from None
    try:
        answer = msgspec.json.decode(done.stdout, type=dict[str, str])
    except msgspec.DecodeError:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
        advice = f"it must be installed here, by `writops[agent-{backend}]`"
        raise Unreachable(f"the agent of backend {backend} gives: {last}; {advice}") from None
    if "error" in answer:
        kind = Unreachable if answer["code"] == "unreachable" else Invalid
        raise kind(answer["error"], code=answer["code"])
    return answer


def when_used(home: Home) -> str:
    """Return, for people, when a target is used for which no agent of `writ up` runs here."""
    if home.in_containers:
        return "Agents in containers are not seen from here: test the target once they are up"
    return "Writ is not running here: the target is used from the next `writ up` on"


async def served_within(home: Home, target: Target) -> bool | None:
    """Wait for an agent here to be ready for the target. None where Writ is not up."""
    process = f"agent-{target.pool}"
    deadline = time.monotonic() + SERVED_WITHIN
    while (report := read_report(home.report_file)) is not None and holder(home.lock) is not None:
        if any(one.name == process and one.state == "ready" for one in report.processes):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(PAUSE)
    return None
