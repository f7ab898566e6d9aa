"""What a family of subjects is: who connects, how it is used, who sends, who receives. registry.py has the families."""

from enum import StrEnum
from typing import Any

from msgspec import Struct


class Role(StrEnum):
    """Who connects to NATS. Each principal, pool and service has an account of its own."""

    PRINCIPAL = "principal"
    EXECUTOR = "executor"
    POLICY = "policy"
    AUDIT = "audit"
    AGENT = "agent"
    KEEPER = "keeper"
    """Keeps NATS in step with the files, and lets agents in."""
    ENROLLER = "enroller"
    """A host with a one-time token, which may do nothing but enrol; each token has an account."""
    SCANNER = "scanner"
    """A principal that may besides report what it finds on targets; in the account that it has as principal."""


class Style(StrEnum):
    """How the subject is used."""

    REQUEST = "request"
    """Request/reply: senders ask, the first of the receivers (a queue group) answers; the others only hear it."""
    PUBLISH = "publish"
    """Core publish, at most once."""
    STREAM = "stream"
    """Stored in a stream by the senders, read by the servers."""
    REPUBLISH = "republish"
    """Heard as it is published: by the server itself when the stream has stored it, or by the senders."""


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
        """The address as a NATS subject filter: given tokens filled in, the others `*`, `{rest}` as `>`."""
        parts = (self._part(part, tokens) for part in self.address.split("."))
        return ".".join(parts)

    @staticmethod
    def _part(part: str, tokens: dict[str, str]) -> str:
        if not part.startswith("{"):
            return part
        name = part[1:-1]
        return tokens.get(name, ">" if name == "rest" else "*")
