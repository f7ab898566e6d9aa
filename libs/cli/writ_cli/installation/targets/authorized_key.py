"""The command by which a host accepts its target's key."""

from pathlib import Path

from writ_contracts.backends import SSH
from writ_contracts.inventory import Target
from writ_installation.administration.targets import SshAddress
from writ_installation.files.home import Home


def copy_command(home: Home, key_file: Path, address: SshAddress) -> str:
    """Return the line of `ssh-copy-id`; for an installation in containers, with the path in the folder above, since the
    folder has another path there.
    """
    outside = home.in_containers and key_file.is_relative_to(home.root)
    shown = key_file.relative_to(home.root.parent) if outside else key_file
    port = f"-p {address.port} " if address.port != 22 else ""
    return f"ssh-copy-id -f -i {shown}.pub {port}{address.user}@{address.host}"


def authorizing(home: Home, target: Target) -> str:
    """Return this line for a target over SSH; "" where its key is not in the folder here, and for one behind jump
    hosts or a tailnet, which `ssh-copy-id` would not reach this way.
    """
    connection, key_file = target.connection, home.ssh / target.id
    is_direct = target.backend == SSH and not {"jump", "via"} & connection.keys()
    if not is_direct or not key_file.with_name(f"{target.id}.pub").exists():
        return ""
    address = SshAddress(str(connection["user"]), str(connection["host"]), int(connection.get("port", 22)))
    return copy_command(home, key_file, address)
