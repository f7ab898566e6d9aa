"""Conditions by installed packages: typed options, public parameters, and an error denies."""

from typing import Any

import pytest
from msgspec import Struct
from tests.rules.asking import World, rule

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.evaluators import Evaluator, Question
from writ_contracts.operations import Catalogue
from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_rules.engine.compile import Policy
from writ_rules.loading import compile_document
from writ_runtime.plugins.entry_points import load_catalogue


class Weekday(Struct, frozen=True, forbid_unknown_fields=True):
    """Which day, counted from the epoch."""

    day: int


questions: list[Question] = []


def answering(answer: Any) -> Evaluator:
    def holds(question: Question, _: Any) -> bool | str:
        questions.append(question)
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]

    return Evaluator(holds=holds, summary="as it likes")


def on_day(question: Question, options: Weekday) -> bool | str:
    today = int(question.at // 86_400) % 7
    return today == options.day or f"today is {today}"


EVALUATORS = {"weekday": Evaluator(holds=on_day, options=Weekday, summary="on that day")}


def world(entry: Any, evaluators: Any = EVALUATORS, **keys: Any) -> World:
    rules = [{**rule("asks", "service_restart", "file_write"), "evaluators": [entry], **keys}]
    text = yaml_file.dump({"policies": {"global_policies": rules}})
    return World(compiled(text, evaluators))


def compiled(text: str, evaluators: Any) -> Policy:
    catalogue = Catalogue(BUILT_IN, evaluators)
    return compile_document(yaml_file.parse(text.encode(), "p.yaml"), catalogue, "strict")[0]


def refused(entry: Any, evaluators: Any = EVALUATORS) -> str:
    with pytest.raises(FileErrors) as caught:
        world(entry, evaluators)
    return str(caught.value)


def test_evaluator_of_a_package_is_found_and_used() -> None:
    installed = load_catalogue(evaluators=True).evaluators
    some = world({"name": "test_share", "with": {"percent": 50}}, installed)
    effects = {name: some.ask(target={"id": name}).effect for name in ("web-1", "web-2", "web-3", "web-4")}
    assert set(effects.values()) == {"allow", "deny"}
    assert some.ask(target={"id": "web-1"}).effect == effects["web-1"]
    assert "percent" in refused({"name": "test_share", "with": {"percent": 101}}, installed)


def test_an_evaluator_is_a_condition_with_options_of_its_own_type() -> None:
    thursday = world({"name": "weekday", "with": {"day": 0}})  # the epoch began on one
    assert thursday.ask(now="2026-11-26T12:00:00Z").effect == "allow"
    denied = thursday.ask(now="2026-11-27T12:00:00Z")
    assert denied.effect == "deny"
    assert 'evaluators.weekday is "today is 1", expected on that day' in denied.reason


@pytest.mark.parametrize(("answer", "code"), [(True, "allowed"), (False, "no_rule"), ("not today", "no_rule")])
def test_evaluator_answers_yes_or_no_or_no_with_a_reason(answer: Any, code: str) -> None:
    assert world("it", {"it": answering(answer)}).ask().code == code


@pytest.mark.parametrize("answer", [RuntimeError("boom"), SystemExit(2), None, 1, "\ud800"])
def test_evaluator_with_another_result_denies_in_the_scope_of_its_rule(answer: Any) -> None:
    asking = world("it", {"it": answering(answer)}, user_roles=["operator"])
    ruling = asking.ask()
    assert (ruling.effect, ruling.code, ruling.rules) == ("deny", "rule_error", ["asks"])
    assert asking.ask(who={"roles": []}).code == "no_rule"


def test_a_deny_whose_evaluator_fails_denies() -> None:
    assert world("it", {"it": answering(RuntimeError())}, allowed=False).ask().code == "rule_error"


def test_evaluator_gets_the_public_parameters_alone() -> None:
    questions.clear()
    world("it", {"it": answering(True)}).ask("file_write", file_path="/srv/a", content="hunter2")
    assert questions[0].parameters["file_path"] == "/srv/a"
    assert "content" not in questions[0].parameters
    assert (questions[0].operation, questions[0].target.id, questions[0].principal.id) == (
        "file_write",
        "web-1",
        "alice",
    )


def test_an_evaluator_that_is_not_installed_refuses_the_file() -> None:
    assert "there is no evaluator 'moon'; installed are: weekday" in refused("moon")


@pytest.mark.parametrize("options", [{}, {"day": "x"}, {"day": 1, "hour": 2}])
def test_unknown_options_of_an_evaluator_refuse_the_file(options: dict[str, Any]) -> None:
    assert "'weekday' can't take these options" in refused({"name": "weekday", "with": options})


def test_evaluator_is_called_once_for_equal_conditions() -> None:
    questions.clear()
    rules = [{**rule(name, "service_restart"), "evaluators": ["it"]} for name in ("a", "b")]
    text = yaml_file.dump({"policies": {"global_policies": rules}})
    assert World(compiled(text, {"it": answering(True)})).ask().rules == ["a", "b"]
    assert len(questions) == 1
