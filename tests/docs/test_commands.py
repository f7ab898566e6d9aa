"""Commands in documents and messages exist, with options, units, compose services and targets of make."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import yaml
from tests.docs.test_names import DOCUMENTS, ROOT

from writ_cli.main import cli
from writ_testing.each_case import each_case

IN_CODE = re.compile(r"`+([^`]+)`+")
COMMAND_LINE = re.compile(r"^ *(?:[$#] )?((?:[A-Z_]+=\S+ )*(?:writ|make|systemctl|docker compose) .*)$", re.MULTILINE)
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
ASSIGNMENT = re.compile(r"^[A-Z_]+=")
PLACEHOLDER = re.compile(r"^(?:\[|<|…|\.\.\.)|^[A-Z…]+$")


def commands(text: str, path: Path) -> Iterator[list[str]]:
    """Yield the words of each command in code spans, and in code blocks of a shell."""
    spans = IN_CODE.findall(FENCE.sub("", text).replace("\n", " "))
    for line in block_lines(text) + [span for span in spans if COMMAND_LINE.fullmatch(span)]:
        yield split(line, path)


def block_lines(text: str) -> list[str]:
    """Return the lines with commands in code blocks of a shell, which people copy."""
    lines = [line for line in text.split("\n") if line.startswith("    $ ")]
    for language, block in FENCE.findall(text):
        if language in ("", "console", "sh", "shell", "bash"):
            lines += [found[1] for found in COMMAND_LINE.finditer(block.replace("\\\n", " "))]
    return lines


def split(line: str, path: Path) -> list[str]:
    """Return the words of the first command of a line, without its prompt, variables and pipe."""
    plain = re.split(r" (?:#|\||>|&&|;)|;", re.sub(r"^ *[$#] ", "", line) + " ", maxsplit=1)[0]
    try:
        words = shlex.split(plain.replace("'…'", "…"))
    except ValueError as error:
        raise AssertionError(f"{path}: {line}: {error}") from error
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    return words


def resolve(words: list[str]) -> str:
    """Return the problem of a command of `writ`; "" without one."""
    group: click.Command = cli
    context = click.Context(cli)
    known = {"--help", *(name for one in cli.params for name in one.opts)}
    for at, word in enumerate(words):
        if not isinstance(group, click.Group) or PLACEHOLDER.match(word) or word.startswith("-"):
            return options_problem(group, context, words[at:], known)
        command = group.get_command(context, word.split("|")[0].rstrip(".,:"))
        for other in word.split("|")[1:]:
            if group.get_command(context, other) is None:
                return f"there is no command {other}"
        if command is None:
            # A group with a command of its own name as default, such as `writ context NAME`, takes an argument here.
            return "" if group is not cli and takes_argument(group, context) else f"there is no command {word}"
        group = command
        known |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return ""


def takes_argument(group: click.Group, context: click.Context) -> bool:
    return "[ARGS]" in " ".join(group.collect_usage_pieces(context)) and group.invoke_without_command


def options_problem(command: click.Command, context: click.Context, words: list[str], known: set[str]) -> str:
    known = known | {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            known |= {name for one in found.params for name in (*one.opts, *one.secondary_opts)} if found else set()
    options = [word.split("=")[0] for word in words if re.match(r"--[a-z]|-[a-z]$", word)]
    missing = [one for one in options if one not in known]
    return f"no option {', '.join(missing)}" if missing else ""


UNITS = {path.name for path in (ROOT / "deploy/systemd").iterdir()}
COMPOSE = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def problem_of(words: list[str]) -> str:
    """Return the problem of a command; "" without one, or for the command of another project."""
    match words:
        case ["writ", *rest]:
            return resolve(rest)
        case ["make", target, *_] if not ASSIGNMENT.match(target) and re.fullmatch("[a-z-]+", target):
            return "" if target in TARGETS else f"there is no target {target}"
        case ["systemctl", _, *units]:
            named = [one for one in units if re.fullmatch(r"writ-[a-z-]+(?:@\S+)?(?:\.\w+)?", one)]
            lacking = [one for one in named if unit_file(one) not in UNITS]
            return f"there is no unit {', '.join(lacking)}" if lacking else ""
        case ["docker", "compose", ("restart" | "up" | "stop" | "logs" | "exec" | "run"), *rest]:
            services = [one for one in rest if re.fullmatch(r"[a-z][a-z-]+", one)][:1]
            return f"there is no service {services[0]}" if services and not set(services) <= COMPOSE else ""
    return ""


def unit_file(name: str) -> str:
    stem, dot, kind = name.partition(".")
    at = stem.find("@")
    return (stem if at < 0 else stem[: at + 1]) + (dot + kind if kind else ".service")


@each_case("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_documents_exist(path: Path) -> None:
    found = {" ".join(words): problem_of(words) for words in commands(path.read_text(), path)}
    assert {words: why for words, why in found.items() if why} == {}


def missing_arguments(words: list[str]) -> str:
    """Return what is wrong with the arguments of a whole command of `writ`; "" if it can be run as it stands."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return ""
        command, words = found, words[1:]
    if isinstance(command, click.Group) or "--help" in words or is_cut(words):
        return ""
    context = click.Context(command, **command.context_settings)
    try:
        given, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.message
    values = [(one, one.consume_value(context, given)[0]) for one in command.params if one.required]
    lacking = [one.human_readable_name for one, value in values if one.value_is_missing(value)]
    return f"lacks {', '.join(lacking)}" if lacking else f"takes no {' '.join(rest)}" if rest else ""


def is_cut(words: list[str]) -> bool:
    """Return whether the last word stands for the rest of a command. Behind an option it is the option's value."""
    return words[-1:] == ["…"] and not "".join(words[-2:-1]).startswith("-")


def arguments_of(words: list[str]) -> list[str]:
    """Return the words behind the name of a command of `writ`."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        command, words = command.get_command(click.Context(command), words[0]) or cli, words[1:]
    return words


def whole_commands(text: str, path: Path) -> Iterator[list[str]]:
    """Yield the words of commands of `writ` in code blocks, and in code spans with a value: others only name one."""
    yield from (words for line in block_lines(text) if (words := split(line, path))[:1] == ["writ"])
    for span in IN_CODE.findall(FENCE.sub("", text).replace("\n", " ")):
        if span.startswith("writ ") and is_whole(words := split(span, path)):
            yield words


def is_whole(words: list[str]) -> bool:
    """Return whether a command has a value right behind its name."""
    return not [*arguments_of(words[1:]), "-"][0].startswith("-")


def has_values(words: list[str]) -> bool:
    """Return whether a command has an argument or a value of an option: others in messages only name it."""
    return any(not one.startswith("-") for one in arguments_of(words[1:]))


@each_case("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_whole_commands_in_documents_have_their_arguments(path: Path) -> None:
    found = {" ".join(words): missing_arguments(words[1:]) for words in whole_commands(path.read_text(), path)}
    assert {line: why for line, why in found.items() if why} == {}


def texts() -> Iterator[tuple[Path, str]]:
    """Yield the strings of the code, those with values in them as well: a value becomes `…`."""
    for path in sorted(path for top in ("libs", "services") for path in (ROOT / top).rglob("*.py")):
        if "`writ " not in (text := path.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, node.value
            elif isinstance(node, ast.JoinedStr):
                parts = (str(one.value) if isinstance(one, ast.Constant) else "VALUE" for one in node.values)
                yield path, "".join(parts)


def test_commands_in_messages_exist_and_have_their_arguments() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {span}": problem_of(words) or (has_values(words) and missing_arguments(words[1:]))
        for path, text in texts()
        for span in IN_CODE.findall(text)
        if span.startswith("writ ") and (words := split(span, path))
    }
    assert len(found) > 40
    assert {words: why for words, why in found.items() if why} == {}


def test_an_unknown_command_option_or_unit_is_a_problem() -> None:
    assert resolve(["stop", "set", "-r", "x"]) == ""
    assert "no command" in resolve(["stopp", "set"])
    assert "no command" in resolve(["stop", "sett"])
    assert "no option" in resolve(["stop", "set", "--reach", "x"])
    assert "no unit" in problem_of(["systemctl", "restart", "writ-natz"])
    assert "no service" in problem_of(["docker", "compose", "restart", "natz"])
    assert "no target" in problem_of(["make", "bake"])


def test_a_missing_argument_or_option_is_a_problem() -> None:
    assert missing_arguments(["policy", "validate", "-"]) == missing_arguments(["run", "OP", "-t", "T", "a=b"]) == ""
    assert missing_arguments(["policy", "validate"]) == "lacks FILE..."
    assert missing_arguments(["target", "add", "web1", "--ssh", "root@web1"]) == "lacks role"
    assert "requires an argument" in missing_arguments(["target", "add", "web1", "--ssh"])
    assert missing_arguments(["version", "now"]) == "takes no now"


def test_left_out_words_are_a_value_behind_an_option_and_the_rest_of_a_command_at_its_end() -> None:
    assert missing_arguments(["target", "add", "…"]) == missing_arguments(["policy", "publish", "…"]) == ""
    assert missing_arguments(["target", "add", "web1", "--ssh", "…"]) == "lacks role"
    assert missing_arguments(["policy", "rollback", "--reason", "…"]) == "lacks N"
    assert missing_arguments(["stop", "lift", "…", "--nonsense"]) == "No such option '--nonsense'."
    assert has_values(["writ", "policy", "rollback", "--reason", "…"])
    assert not has_values(["writ", "policy", "rollback", "--reason"])
