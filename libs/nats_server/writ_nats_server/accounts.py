"""The accounts of a NATS configuration. Each subject between accounts is exported by one account and imported by
another.
"""

from collections.abc import Mapping
from typing import Any


class Accounts:
    """Accounts under construction, by name, in the form of the configuration."""

    def __init__(self) -> None:
        self.blocks: dict[str, dict[str, Any]] = {}

    def add(self, account: str, *users: Mapping[str, Any]) -> None:
        """Add these users to this account."""
        block = self.blocks.setdefault(account, {"exports": [], "imports": [], "users": []})
        block["users"] += users

    def service(
        self,
        owner: str,
        to: str,
        subject: str,
        *,
        many: bool = False,
        silence: str = "",
        share: bool = False,
        known_as: str = "",
    ) -> None:
        """Let `to` send requests to `owner` on this subject. `many`: a request brings more than one reply.

        The server cannot know which of many replies is the last. It keeps the data to route them (2.5 KB for each
        request, measured) until none has come for `silence`, by default two minutes.
        """
        export: dict[str, Any] = {"service": subject, "accounts": [to]}
        if many:
            export |= {"response_type": "stream", **({"threshold": silence} if silence else {})}
        # share: the server itself adds Nats-Request-Info, which names the key; it overwrites a forged one.
        taken = {"service": {"account": owner, "subject": subject}, **({"share": True} if share else {})}
        self._cross(owner, to, export, {**taken, "to": known_as} if known_as else taken)

    def stream(self, owner: str, to: str, subject: str) -> None:
        """Let `to` receive messages published in `owner` on this subject."""
        taken = {"stream": {"account": owner, "subject": subject}}
        self._cross(owner, to, {"stream": subject, "accounts": [to]}, taken)

    def _cross(self, owner: str, to: str, export: Mapping[str, Any], taken: Mapping[str, Any]) -> None:
        if owner == to and "to" not in taken:
            return
        exports, imports = self.blocks[owner]["exports"], self.blocks[to]["imports"]
        kind = "service" if "service" in export else "stream"
        known = next((one for one in exports if one.get(kind) == export[kind]), None)
        if known is None:
            exports.append(dict(export))
        elif to not in known["accounts"]:
            known["accounts"].append(to)
        if taken not in imports:
            imports.append(dict(taken))
