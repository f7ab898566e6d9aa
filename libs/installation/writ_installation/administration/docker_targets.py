"""Adding a Docker engine of this machine to `$WRIT_HOME`: its entry, and the file that says that it is served here."""

from typing import Any

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_installation.administration.targets import put_entry, refuse_known, refuse_relative, served_within
from writ_installation.files.home import Home


class NewEngine(Struct, frozen=True, kw_only=True):
    """The target that is to be. `mount_roots`: folders that its containers may mount."""

    name: str
    role: str
    socket: str
    pool: str | None = None
    mount_roots: tuple[str, ...] = ()
    stack_dir: str | None = None


class AddedEngine(Struct, frozen=True, kw_only=True):
    """`served`: an agent here is ready for it; None where Writ is not up."""

    target: Target
    credential: str
    served: bool | None


async def add_docker_target(home: Home, new: NewEngine) -> AddedEngine:
    """Return when a running Writ has an agent for it. Raises Conflict, Invalid."""
    refuse_known(home, new.name)
    folders = [*new.mount_roots, *([new.stack_dir] if new.stack_dir else [])]
    refuse_relative(folders)
    if not new.socket.startswith("/"):
        raise Invalid(f"{new.socket[:200]!r} is no absolute path of a socket, such as /var/run/docker.sock")
    entry: dict[str, Any] = {"id": new.name, "role": new.role, "backend": "docker"}
    entry |= {"agent": new.pool} if new.pool else {}
    entry["connection"] = {"socket": new.socket}
    entry |= {"mount_roots": list(new.mount_roots)} if new.mount_roots else {}
    entry |= {"stack_dir": new.stack_dir} if new.stack_dir else {}
    folder = home.credentials("docker")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / new.name).touch(mode=0o600)
    target = put_entry(home, entry)
    served = await served_within(home, target)
    return AddedEngine(target=target, credential=str(folder / new.name), served=served)
