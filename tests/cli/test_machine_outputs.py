"""Every command whose output a program may read writes whole documents, however it ends.

The commands are those of the registry, with made-up arguments. So most end by an error: there is no service here.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from writ_cli.main import cli
from writ_installation.files.create import create_installation
from writ_installation.files.home import Home

SERVERS = {("up",), ("keep",), ("mcp", "http"), ("mcp", "stdio")}
"""Commands that serve until they are stopped."""
STREAMS = {("keys", "rotate")}
"""Commands with a document for each result, which `-o json` has one a line."""
Words = tuple[str, ...]
"""The words of a command."""


def commands(
    group: click.Group, context: click.Context, path: Words = ()
) -> Iterator[tuple[Words, click.Command, click.Choice[str]]]:
    for name in group.list_commands(context):
        command, words = group.get_command(context, name), (*path, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, click.Context(command, info_name=name, parent=context), words)
        for option in command.params:
            if option.name == "form" and isinstance(option.type, click.Choice) and words not in SERVERS:
                yield words, command, option.type


def arguments(command: click.Command, folder: Path) -> Iterator[str]:
    """Yield the required arguments and options with values of their types."""
    for one in command.params:
        if one.required:
            yield from (() if isinstance(one, click.Argument) else (one.opts[0],))
            yield _value(one.type, folder)


def _value(kind: click.ParamType[Any], folder: Path) -> str:
    if isinstance(kind, click.Choice):
        return str(kind.choices[0])
    if isinstance(kind, click.Path):
        file = folder / ("file" if kind.exists else "new")
        if kind.exists:
            file.write_text("{}")
        return str(file)
    return "1" if isinstance(kind, click.IntRange | click.FloatRange) or kind.name in ("integer", "float") else "x"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    create_installation(Home(folder / ".writ"))
    return folder


def documents(text: str, form: str) -> list[Any]:
    if form == "yaml":
        return list(yaml.safe_load_all(text))
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def problem(done: Result, words: Words, form: str) -> str:
    if "defect in writ" in done.stderr or not isinstance(done.exception, SystemExit | None):
        return f"defect: {done.stderr} {done.exception!r}"
    if form == "csv":
        return "output beside an error" if done.exit_code and done.stdout else ""
    try:
        found = documents(done.stdout, form)
    except (ValueError, yaml.YAMLError) as error:
        return f"no {form}: {error}"
    if not found or (len(found) > 1 and form == "json" and words not in STREAMS):
        return f"{len(found)} documents"
    last = found[-1]
    is_document = isinstance(last, dict | list)
    said = not done.stderr.startswith("writ: ") or done.exit_code == 0 or (isinstance(last, dict) and "error" in last)
    return "" if is_document and said else "standard error has an error, or the output no document"


@pytest.mark.parametrize("form", ["json", "yaml", "jsonl", "csv"])
@pytest.mark.parametrize("ending", ["usage", "no installation", "not running", "no server"])
def test_output_for_programs_is_whole_documents_in_every_ending(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch, form: str, ending: str
) -> None:
    wrong, count = [], 0
    for number, (words, command, forms) in enumerate(commands(cli, click.Context(cli, info_name="writ"))):
        if form not in forms.choices:
            continue
        folder = tmp_path / str(number)
        if ending == "not running":
            shutil.copytree(made, folder)
        else:
            folder.mkdir()
        monkeypatch.chdir(folder)
        url = "nats://127.0.0.1:9" if ending == "no server" else ""
        environ = {"HOME": str(folder), "NATS_URL": url, "WRIT_HOME": "", "WRIT_PRINCIPAL": "operator"}
        line = [*words, *arguments(command, folder), "--output", form, *(["--no-such"] if ending == "usage" else [])]
        done = CliRunner(env={**environ, "WRIT_KEY_FILE": "", "WRIT_CONTEXT": ""}).invoke(cli, line, input="")
        count += 1
        if found := problem(done, words, form):
            wrong.append((" ".join(words), done.exit_code, found, done.output[:200]))
    assert count
    assert wrong == []
