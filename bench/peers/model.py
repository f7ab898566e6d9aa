"""The rules and requests that every engine gets, and the right decisions.

The model has only features of all engines: operation, role of the target, role of the caller, an upper limit on an
integer, allow or deny. A rule that denies wins, and nothing is allowed without a rule that allows it.
"""

import random
from collections.abc import Sequence
from typing import get_args

from msgspec import Struct

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.inventory import Role

OPERATIONS = tuple(operation.name for operation in BUILT_IN if not operation.control)
TARGETS: tuple[Role, ...] = get_args(Role)
CALLERS = ("operator", "developer", "sre", "auditor", "assistant", "release")
LIMITS = (5, 10, 20, 30)
ASKED = (3, 8, 15, 25, 45)
DENYING = 0.1


class Rule(Struct, frozen=True):
    """A rule for one operation, one role of targets and one role of callers: `timeout` at most `limit`."""

    name: str
    operation: str
    target: Role
    caller: str
    limit: int
    allowed: bool


class Question(Struct, frozen=True):
    """A request: may a caller of this role do this, with this timeout, on a target of that role?"""

    operation: str
    target: Role
    caller: str
    timeout: int


def rules(count: int) -> list[Rule]:
    """Return rules drawn at random, the same every time. One in ten denies."""
    chance = random.Random(count)
    return [
        Rule(
            f"rule-{number}",
            chance.choice(OPERATIONS),
            chance.choice(TARGETS),
            chance.choice(CALLERS),
            chance.choice(LIMITS),
            chance.random() >= DENYING,
        )
        for number in range(count)
    ]


def questions(drawn: Sequence[Rule], count: int) -> list[Question]:
    """Return requests. Every second one matches a rule but for the limit, since few random requests would match any."""
    chance = random.Random(count)
    found = []
    for number in range(count):
        place = (chance.choice(OPERATIONS), chance.choice(TARGETS), chance.choice(CALLERS))
        if number % 2:
            aim = chance.choice(drawn)
            place = (aim.operation, aim.target, aim.caller)
        found.append(Question(*place, chance.choice(ASKED)))
    return found


def answers(drawn: Sequence[Rule], asked: Sequence[Question]) -> list[bool]:
    """Return the right decisions, by the definition of the rules alone."""
    return [_answer(drawn, question) for question in asked]


def _answer(drawn: Sequence[Rule], question: Question) -> bool:
    place = (question.operation, question.target, question.caller)
    matching = [
        rule for rule in drawn if (rule.operation, rule.target, rule.caller) == place and question.timeout <= rule.limit
    ]
    return bool(matching) and all(rule.allowed for rule in matching)
