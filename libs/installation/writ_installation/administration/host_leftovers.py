"""Traces of Writ on the hosts of SSH targets: its folders there, and authorised keys that people put there."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from writ_contracts.backends import LOCAL, SSH
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_installation.administration.targets import ask_agent
from writ_installation.files.home import Home


class HostLeftovers(Struct, frozen=True, kw_only=True):
    """The traces of one user of a host. `others`: foreign names in the folder. `keys`: places of the
    target's key in authorized_keys, as path:line.
    """

    user: str
    folder: str
    files: int
    bytes: int
    running: int
    others: list[str]
    keys: list[str]


def host_leftovers(
    home: Home, target: Target, environ: Mapping[str, str], action: Literal["leftovers", "clean"]
) -> list[HostLeftovers]:
    """Return the traces by user, and remove the folders with `clean`. Raises Invalid, Unreachable."""
    if target.backend != SSH:
        left = "what its agent leaves on its host" if target.backend == LOCAL else "the steps of its removal"
        raise Invalid(f"{target.id} is not a target over SSH, and nothing was removed: docs/uninstall.md has {left}")
    keys = environ.get("WRIT_SSH_KEYS") or str(home.ssh)
    public = home.ssh / f"{target.id}.pub"
    request: dict[str, Any] = {
        "action": action,
        "target": target,
        "keys": keys,
        "known_hosts": environ.get("WRIT_SSH_KNOWN_HOSTS"),
        "auth_sock": environ.get("WRIT_SSH_AUTH_SOCK"),
        "public_key": " ".join(public.read_text().split()[:2]) if public.exists() else "",
    }
    reply = ask_agent(SSH, ["leftovers"], msgspec.json.encode(request))
    return msgspec.json.decode(reply["found"], type=list[HostLeftovers])
