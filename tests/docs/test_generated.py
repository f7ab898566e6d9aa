"""Documents made from code: valid, complete and up to date."""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from docs.generate import asyncapi
from docs.generate.__main__ import DOCUMENTS, main

from writ_cli.main import cli
from writ_contracts.registry import CHANNELS
from writ_documents.yaml_file import parse
from writ_runtime.unread_variables import OF_COMMANDS

ROOT = Path(__file__).parents[2]
SCHEMA = Path(__file__).with_name("asyncapi-3.0.0.schema.json")  # of AsyncAPI (Apache-2.0), without its examples


@pytest.fixture(scope="module", autouse=True)
def documents_made_once() -> Iterator[None]:
    """Let the tests share the texts, which depend on no folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name, make in DOCUMENTS.items():
            patch.setitem(DOCUMENTS, name, functools.cache(make))
        yield


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi.document()


def test_the_documents_in_the_tree_are_those_that_the_code_makes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], ROOT) == 0, capsys.readouterr().err


def options(command: click.Command) -> Iterator[click.Parameter]:
    yield from command.params
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            if found := command.get_command(click.Context(command), name):
                yield from options(found)


def test_each_variable_of_the_command_and_of_containers_is_documented() -> None:
    read = {name for one in options(cli) if isinstance(name := one.envvar, str)} | {*OF_COMMANDS}
    composed = [ROOT / "docker-compose.yml", *(ROOT / "deploy").rglob("*.yaml")]
    read |= {name for file in composed for name in re.findall(r"\$\{(WRIT_\w+)", file.read_text())}
    named = "".join((ROOT / name).read_text() for name in ("docs/configuration.md", "deploy/README.md"))
    assert len(read) > 40
    assert sorted(name for name in read if not re.search(rf"`{name}\b", named)) == []


def test_a_description_is_the_same_whether_python_removes_the_indentation_of_docstrings_or_keeps_it(
    document: dict[str, Any],
) -> None:
    """Python 3.13 does: without this a document that 3.11 made is out of date there."""
    assert "\\n  " not in str([part.get("description") for part in document["components"]["schemas"].values()])
    suite = json.loads(DOCUMENTS["libs/cli/writ_cli/schemas/suite.json"]())
    assert "\\n  " not in str([part.get("description") for part in suite["$defs"].values()])


def test_a_stale_document_is_named_and_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    (tmp_path / "docs/configuration.md").write_text("old")
    assert main(["--check"], tmp_path) == 1
    assert "docs/configuration.md is out of date" in capsys.readouterr().err


def test_the_asyncapi_document_is_valid(document: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(document)


def test_the_schema_refuses_what_is_not_asyncapi(document: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate({**document, "operations": {"x": {}}})


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return own + [found for value in part.values() for found in references(value)]
        return [found for value in part for found in references(value)] if isinstance(part, list) else []

    for reference in references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_asyncapi_has_each_channel_with_its_senders_and_receivers(document: dict[str, Any]) -> None:
    assert set(document["channels"]) == {channel.name for channel in CHANNELS}
    request = document["operations"]["request"]
    assert (request["action"], request["x-receivers"]) == ("receive", ["executor"])
    assert request["x-senders"] == ["principal", "gateway"]
    assert request["reply"]["messages"] == [{"$ref": "#/channels/request/messages/RequestReply"}]


def test_contents_of_signatures_are_described(document: dict[str, Any]) -> None:
    assert {"Grant", "Claim", "Receipt"} <= set(document["components"]["schemas"])


def test_asyncapi_file_equals_the_generated_document(document: dict[str, Any]) -> None:
    text = DOCUMENTS["docs/asyncapi.yaml"]()
    assert parse(text.encode(), "docs/asyncapi.yaml").data == json.loads(json.dumps(document))
