"""A condition for policies, provided like any package's: see docs/plugins.md."""

from typing import Annotated
from zlib import crc32

from msgspec import Meta, Struct

from writ_contracts.evaluators import Evaluator, Question


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """A share of targets in percent, always the same ones."""

    percent: Annotated[int, Meta(ge=0, le=100)]


def _holds(question: Question, options: Share) -> bool | str:
    number = crc32(question.target.id.encode()) % 100
    return number < options.percent or f"{question.target.id} is number {number} of 100"


SHARE = Evaluator(holds=_holds, options=Share, summary="the target is among the first that get a change")
