"""Adding a Docker engine to `$WRIT_HOME`: its entry, and the file that says that it is served here.

An engine is on this machine, or is reached over TLS; one on a host of SSH is part of the host's entry.
"""

import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from writ_contracts.backends import DOCKER
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_installation.administration.targets import put_entry, refuse_known, refuse_relative, served_within
from writ_installation.files.home import Home

_ADDRESS = re.compile(r"(?:tcp://)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})/?")
LARGEST_PEM = 64 * 1024


class EngineFolders(Struct, frozen=True, kw_only=True):
    """`mount_roots`: folders that its containers may mount. `stack_dir`: that of its Compose files."""

    mount_roots: tuple[str, ...] = ()
    stack_dir: str | None = None

    def entry(self) -> dict[str, Any]:
        """Return their keys of an inventory entry. Raises Invalid for a relative folder."""
        refuse_relative([*self.mount_roots, *([self.stack_dir] if self.stack_dir else [])])
        roots = {"mount_roots": list(self.mount_roots)} if self.mount_roots else {}
        return roots | ({"stack_dir": self.stack_dir} if self.stack_dir else {})


class NewEngine(Struct, frozen=True, kw_only=True):
    """The new target. `address`: a socket, or HOST:PORT. `ca`: the PEM file trusted over TLS, and
    `identity` the one with our certificate and its key.
    """

    name: str
    role: str
    address: str
    ca: Path | None = None
    identity: Path | None = None
    pool: str | None = None
    folders: EngineFolders = EngineFolders()
    tags: tuple[str, ...] = ()


class AddedEngine(Struct, frozen=True, kw_only=True):
    """`served`: an agent here is ready for it; None where Writ is not up."""

    target: Target
    credential: str
    served: bool | None


async def add_docker_target(home: Home, new: NewEngine) -> AddedEngine:
    """Return when a running Writ has an agent for it. Raises Conflict, Invalid."""
    refuse_known(home, new.name)
    entry: dict[str, Any] = {"id": new.name, "role": new.role, "backend": DOCKER}
    entry |= {"agent": new.pool} if new.pool else {}
    entry |= {"tags": [*new.tags]} if new.tags else {}
    entry |= {"connection": _connection(new), **new.folders.entry()}
    identity = _identity(new)
    folder = home.credentials(DOCKER)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / new.name).touch(mode=0o600)
    (folder / new.name).write_text(identity)
    target = put_entry(home, entry)
    served = await served_within(home, target)
    return AddedEngine(target=target, credential=str(folder / new.name), served=served)


def engine_socket(address: str) -> dict[str, str]:
    """Return `docker` of a host's entry. Raises Invalid."""
    if not address.startswith("/"):
        message = "is not an absolute path of a socket on the host, such as /var/run/docker.sock"
        raise Invalid(f"{address[:200]!r} {message}")
    return {"socket": address}


def _connection(new: NewEngine) -> dict[str, Any]:
    if new.address.startswith("/"):
        if new.ca or new.identity:
            raise Invalid("--docker-ca and --key are for an engine over TLS: --docker HOST:PORT")
        return {"socket": new.address}
    parts = _ADDRESS.fullmatch(new.address)
    if parts is None or int(parts["port"]) > 65535:
        message = "is neither a socket, such as /var/run/docker.sock, nor HOST:PORT"
        raise Invalid(f"{new.address[:200]!r} {message}")
    if new.ca is None or new.identity is None:
        raise Invalid("an engine over TLS needs --docker-ca FILE and --key FILE: certificates as PEM")
    return {"host": parts["host"].strip("[]"), "port": int(parts["port"]), "ca": _pem(new.ca, "CERTIFICATE")}


def _identity(new: NewEngine) -> str:
    """Our certificate and its key; empty for a socket, where the file's name says all."""
    if new.identity is None:
        return ""
    _pem(new.identity, "CERTIFICATE")
    return _pem(new.identity, "PRIVATE KEY")


def _pem(path: Path, kind: str) -> str:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} cannot be read as text") from error
    if f"{kind}-----" not in text or len(text) > LARGEST_PEM:
        raise Invalid(f"{path} holds no {kind} as PEM")
    return text
