"""The caller of one MCP request: the client program, as it names itself, and the limits of its token. Pure."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

from writ_contracts.errors import Denied
from writ_contracts.requests import ClientInfo
from writ_gateway.untrusted_text import visible

LONGEST = 100
EVERY = ("*",)


class Caller(Struct, frozen=True, kw_only=True):
    """Globs of `operations` and `targets` limit a token: a request without a match is not sent."""

    client: ClientInfo | None = None
    operations: Sequence[str] = EVERY
    targets: Sequence[str] = EVERY

    def check(self, operation: str, target: str) -> None:
        """Raise Denied (`token_limit`) for a request outside the token's globs. Cancels are allowed to every token."""
        if not _fits(operation, self.operations):
            raise Denied(f"this token is not for {operation}, only for {_listed(self.operations)}", code="token_limit")
        self.check_target(target)

    def check_target(self, target: str) -> None:
        """Raise Denied (`token_limit`) for a target outside the token's globs, also for one that does not exist."""
        if not self.reaches(target):
            raise Denied(f"this token is not for target {target}, only for {_listed(self.targets)}", code="token_limit")

    def admits(self, operation: str, target: str | None = None) -> bool:
        """Return whether the globs match the operation, and the target if one is given."""
        return _fits(operation, self.operations) and (target is None or self.reaches(target))

    def reaches(self, target: str) -> bool:
        """Return whether the globs match the target."""
        return _fits(target, self.targets)


def client_info(name: str, version: str, session: str) -> ClientInfo:
    """Return the name and version that a client reports, cut short and without invisible characters."""
    return ClientInfo(name=_short(name), version=_short(version), session=_short(session))


def _short(text: str) -> str:
    return visible(text[:LONGEST])[:LONGEST]


def any_fits(names: Iterable[str], globs: Sequence[str]) -> bool:
    return any(_fits(name, globs) for name in names)


def _fits(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)


def _listed(globs: Sequence[str]) -> str:
    return ", ".join(globs[:5]) + (" and others" if len(globs) > 5 else "")
