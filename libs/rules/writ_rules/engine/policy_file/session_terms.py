"""The bounds of sessions in a policy."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from writ_contracts.catalogue.sessions import LONGEST
from writ_rules.engine.policy_file import times
from writ_rules.engine.policy_file.format import SessionsEntry


class SessionTerms(Struct, frozen=True):
    """The bounds of sessions: seconds of life and without use, and open ones of one principal."""

    longest: float
    idle: int
    most: int


def session_terms_of(entry: SessionsEntry | None, attempt: Callable[..., Any]) -> SessionTerms:
    """Return the terms; `attempt` notes what is no duration as an error of the file."""
    parameters = entry or SessionsEntry()
    longest = attempt(("policies", "sessions", "longest"), 0, times.duration, parameters.longest)
    idle = attempt(("policies", "sessions", "idle"), 0, times.duration, parameters.idle)
    return SessionTerms(longest=min(longest, LONGEST), idle=int(min(idle, LONGEST)), most=parameters.most)
