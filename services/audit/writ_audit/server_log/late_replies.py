"""Distinguish an honest service's late replies from forged ones. Pure.

Permission to reply ends with the connection of the requester, with a new configuration, or after 60 s, so an honest
service causes violations itself. Requests reach it from other accounts alone, so the server made the reply subject:
`_R_.`, six characters of the account, a dot, and a random name. It replies once. (Executors may always reply to each
other's discovery.) It causes no other violation on an inbox: not on somebody's own, such as `_INBOX_executor.…` of an
honest executor, not on a name that no server makes, and not by a second reply.

A guessed name is taken for a late reply. The server passes it to nobody.
"""

import re
from collections import OrderedDict

from writ_audit.server_log.refusal import Violation

MOST_REMEMBERED = 10_000
_reply_subject = re.compile(r"_R_\.[0-9A-Za-z]{6}\.[0-9A-Za-z]{6,40}").fullmatch


class LateReplies:
    """Remembers late replies."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def is_late(self, violation: Violation) -> bool:
        """Return whether a violation by a service or an agent is one late reply to one request."""
        if violation.verb != "publish" or not _reply_subject(violation.subject):
            return False
        reply = (violation.account, violation.subject)
        if reply in self._known:
            return False
        self._known[reply] = None
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return True
