"""Evaluators: conditions of policies brought by plugins, by the entry point `writ.evaluators`.

An evaluator is a pure function: the same question and options give the same result. It decides inside the policy
service, so it reads no clock (`at` is the time), no file and no network. An exception denies.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from writ_contracts.inventory import Principal, Target


class Question(Struct, frozen=True, kw_only=True):
    """The part of a request passed to an evaluator; of the effective parameters only the public ones. `at`: Unix
    seconds.

    `risk` is read, change or admin.
    """

    operation: str
    risk: str
    target: Target
    principal: Principal
    parameters: Mapping[str, Any]
    at: float


class NoOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The type of an evaluator without options."""


class Evaluator(Struct, frozen=True, kw_only=True):
    """`holds` returns true, false, or a reason for people, which means false; `options` is the type of the rule's
    `with`.
    """

    holds: Callable[[Question, Any], bool | str]
    summary: str
    options: type[Struct] = NoOptions
