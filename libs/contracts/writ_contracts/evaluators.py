"""Conditions of policies that installed packages bring, by the entry point `writ.evaluators`.

An evaluator is a pure function: the same question and options have the same answer. It decides inside the policy
service, so it reads no clock (`at` is the time), opens no file and asks nobody. What it raises denies.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from writ_contracts.inventory import Principal, Target


class Question(Struct, frozen=True, kw_only=True):
    """What an evaluator sees of a request: of its effective parameters the public ones. `at`: Unix seconds.

    `risk` is read, change or admin.
    """

    operation: str
    risk: str
    target: Target
    principal: Principal
    parameters: Mapping[str, Any]
    at: float


class NoOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Of an evaluator that takes none."""


class Evaluator(Struct, frozen=True, kw_only=True):
    """`holds` answers true, false, or false with a reason for people; `options` is the type of the rule's `with`."""

    holds: Callable[[Question, Any], bool | str]
    summary: str
    options: type[Struct] = NoOptions
