"""Families of subjects: style, senders and receivers. registry.py lists the families."""

from enum import StrEnum
from typing import Any

from msgspec import Struct


class Role(StrEnum):
    """The roles of NATS clients. Each principal, pool and service has an account of its own."""

    PRINCIPAL = "principal"
    EXECUTOR = "executor"
    POLICY = "policy"
    AUDIT = "audit"
    AGENT = "agent"
    KEEPER = "keeper"
    """The provisioner: keeps NATS equal to the files, and enrols agents."""
    ENROLLER = "enroller"
    """A host with a one-time token, which may only enrol; each token has an account."""
    GATEWAY = "gateway"
    """An MCP gateway, which sends for each principal whose `via` names it, and receives that principal's events."""
    SCANNER = "scanner"
    """A principal that may also report findings on targets; it uses its account as principal."""


class Style(StrEnum):
    """The use of the subject."""

    REQUEST = "request"
    """Request/reply: one of the first receiver role (a queue group) replies; the others only listen."""
    PUBLISH = "publish"
    """Core publish, at most once."""
    STREAM = "stream"
    """Stored in a stream by the senders, read by the servers."""
    REPUBLISH = "republish"
    """A copy at the time of publication: by the server itself when the stream has stored it, or by the senders."""


class Channel(Struct, frozen=True, kw_only=True):
    """One family of subjects. `{name}` is one token, `{rest}` at the end one or more."""

    name: str
    address: str
    summary: str
    style: Style
    senders: tuple[Role, ...]
    receivers: tuple[Role, ...]
    message: Any
    answer: Any = None

    def subject(self, **tokens: str) -> str:
        """Return the address as a NATS subject filter: given tokens filled in, the others `*`, `{rest}` as `>`."""
        parts = (self._part(part, tokens) for part in self.address.split("."))
        return ".".join(parts)

    @staticmethod
    def _part(part: str, tokens: dict[str, str]) -> str:
        if not part.startswith("{"):
            return part
        name = part[1:-1]
        return tokens.get(name, ">" if name == "rest" else "*")
