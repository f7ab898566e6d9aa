"""An evaluator as an installed package brings it: a rule holds for those whose team owns the target."""

from msgspec import Struct

from writ_contracts.evaluators import Evaluator, Question
from writ_contracts.plugins import WRIT_PLUGIN_API, Plugin


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """The rule's options under `with`: which attribute of the target is compared with which one of the principal."""

    target: str = "owner"
    principal: str = "team"


def same_team(question: Question, options: Options) -> bool | str:
    """Return true, or the reason why not. A missing attribute raises KeyError, so the rule denies."""
    owner = question.target.attributes[options.target]
    team = question.principal.attributes[options.principal]
    return True if owner == team else f"{question.target.id} is of {owner}, {question.principal.id} of {team}"


SAME_TEAM = Evaluator(holds=same_team, summary="the principal's team owns the target", options=Options)
PLUGIN = Plugin(api=WRIT_PLUGIN_API, prefixes=("same",), summary="A condition for policies")
