"""Subjects by which an MCP gateway sends for its principals. Pure.

NATS refuses them to a gateway whose principal is disabled or removed. A gateway sends nothing for such a principal, but
it may not have read the change yet. That is no use of a stolen key: with it the principal could be used before, too.
"""

import re

from writ_audit.server_log.refusal import Violation
from writ_contracts.catalogue.control import FOR_PEOPLE
from writ_contracts.questions import QUESTIONS

_QUERIES = frozenset(one.kind for one in QUESTIONS if one.delegated)
_NAME = "([A-Za-z0-9_-]{1,64})"
_request = re.compile(rf"writ\.request\.{_NAME}\.{_NAME}").fullmatch
_query = re.compile(rf"writ\.query\.{_NAME}\.{_NAME}").fullmatch
_events = re.compile(rf"writ\.event\.op\.{_NAME}\.>").fullmatch


def principal_of(violation: Violation) -> str | None:
    """Return the principal for which the gateway of that principal may use the subject; None for any other subject."""
    if violation.verb == "subscribe":
        found = _events(violation.subject)
        return found[1] if found else None
    if found := _request(violation.subject):
        return found[1] if violation.verb == "publish" and found[2] not in FOR_PEOPLE else None
    found = _query(violation.subject)
    return found[1] if found and violation.verb == "publish" and found[2] in _QUERIES else None
