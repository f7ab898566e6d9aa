"""Parse what nats-server refuses from a line of its log. No I/O.

Only whole lines of nats-server 2.14 and later count. It writes names and subjects of clients as Go's `%q` does, without
line breaks, so a client cannot write a line of its own; a quoted text with anything else in it is not parsed.
"""

import re
from typing import Literal

from msgspec import Struct

from writ_contracts.ids import PublicKey

MOST_SHOWN = 200
"""Characters of a text that a client chose, in an event."""

_QUOTED = r'"((?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*)"'
_line = re.compile(
    r"\[\d{1,10}\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}(?: UTC)? \[ERR\] "
    r"(?P<host>[0-9A-Za-z.:%\[\]_-]{1,100}):(?P<port>\d{1,5}) - (?P<connection>[clwmr]id:\d{1,20}) - (?P<rest>.+)"
).fullmatch
_violation = re.compile(
    rf'(?:{_QUOTED} - )?"([A-Za-z0-9_.-]{{1,128}})/nkey:(U[A-Z2-7]{{55}})" - '
    rf"(Publish|Subscription) Violation - (Subject|Reply) {_QUOTED}(?:, .*)?"
).fullmatch
_failed_login = re.compile(rf"authentication error(?: - ([A-Za-z ]{{1,20}}) {_QUOTED})?").fullmatch
_key = re.compile(r"U[A-Z2-7]{55}").fullmatch


class Violation(Struct, frozen=True, kw_only=True):
    """A subject that the server refused to a user, whose key is proven.

    `subject` and `client` are the client's own words, bounded and escaped.
    """

    host: str
    connection: str
    account: str
    key: PublicKey
    client: str
    verb: Literal["publish", "subscribe", "reply"]
    subject: str


class FailedLogin(Struct, frozen=True, kw_only=True):
    """A connection that the server refused. `key`: the one it named, which it may not have; "" for none."""

    host: str
    connection: str
    key: str
    claimed: str
    """What it named in place of a key, such as a user; bounded and escaped."""


def refusal(line: str) -> Violation | FailedLogin | None:
    """Return what the server refused by this line, or None for any other line."""
    found = _line(line)
    if found is None:
        return None
    origin = {"host": found["host"], "connection": found["connection"]}
    if violation := _violation(found["rest"]):
        client, account, key, verb, part, subject = violation.groups()
        return Violation(
            **origin,
            account=account,
            key=key,
            client=_shown(client or ""),  # the server leaves it out where the client names nothing
            verb="subscribe" if verb == "Subscription" else "reply" if part == "Reply" else "publish",
            subject=_shown(subject),
        )
    if failed := _failed_login(found["rest"]):
        kind, named = failed.groups(default="")
        is_key = kind == "Nkey" and _key(named) is not None
        claimed = "" if is_key or not kind else f'{kind} "{_shown(named)}"'
        return FailedLogin(**origin, key=named if is_key else "", claimed=claimed)
    return None


def _shown(quoted: str) -> str:
    """Return a quoted text as it is in the log, in ASCII and bounded."""
    text = quoted.encode("ascii", "backslashreplace").decode()
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
