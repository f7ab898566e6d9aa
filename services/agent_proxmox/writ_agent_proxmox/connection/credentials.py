"""API tokens: a private file for each target, with its name, read again when an operation begins."""

import re
from pathlib import Path

from msgspec import Struct

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError, Invalid

_TOKEN = re.compile(
    r"(?P<user>[^\s:/!=]{1,60}@[A-Za-z][A-Za-z0-9._-]{1,31})!(?P<name>[A-Za-z][\w.-]{1,63})=(?P<secret>[\w-]{8,128})"
)


class ApiToken(Struct, frozen=True):
    """An API token. `secret` goes into the header of requests and nowhere else."""

    user: str
    name: str
    secret: str

    @property
    def id(self) -> str:
        """The token as Proxmox names it: `user@realm!name`."""
        return f"{self.user}!{self.name}"

    def __repr__(self) -> str:
        return f"Token({self.id})"


class ProxmoxTokens:
    """The tokens in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, target: str) -> ApiToken:
        """Return the target's token. Raises Invalid (`no_credentials`)."""
        path = self._folder / target
        try:
            return parse_token(read_private(path).decode("utf-8", "replace"), str(path))
        except ConfigError as error:
            raise Invalid(str(error), code="no_credentials") from error


def parse_token(text: str, where: str) -> ApiToken:
    """Raises Invalid (`no_credentials`), which never quotes its input."""
    parts = _TOKEN.fullmatch(text.strip())
    if parts is None:
        raise Invalid(f"{where}: is not an API token: one line, user@realm!name=secret", code="no_credentials")
    return ApiToken(parts["user"], parts["name"], parts["secret"])
