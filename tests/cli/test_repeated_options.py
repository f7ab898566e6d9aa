"""No command lets a second option silently override the first."""

from collections.abc import Iterator

import click
from click.testing import CliRunner

from writ_cli.main import cli
from writ_testing.each_case import each_case


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, (*path, name))


COMMANDS = {" ".join(path): command for path, command in _commands(cli)}


def _twice(command: click.Command) -> Iterator[tuple[click.Option, list[str]]]:
    for option in command.params:
        if not isinstance(option, click.Option) or option.multiple or option.count:
            continue
        if option.is_flag:
            yield from ((option, [option.opts[0], other]) for other in option.secondary_opts)
        else:
            yield option, [option.opts[0], "a", option.opts[-1], "b"]


@each_case("path", COMMANDS)
def test_an_option_given_twice_is_refused_by_name(path: str) -> None:
    for option, words in _twice(COMMANDS[path]):
        done = CliRunner(env={"WRIT_HOME": "/nonexistent"}).invoke(cli, [*path.split(), *words])
        assert (done.exit_code, done.stdout) == (2, ""), (path, words)
        assert f"{option.opts[0]} is given more than once" in done.stderr, (path, words)


def test_the_options_of_a_command_include_those_of_its_groups() -> None:
    done = CliRunner().invoke(cli, ["audit", "search", "--reason", "one", "--limit", "3", "--reason", "two"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--reason is given more than once" in done.stderr
    assert " audit search --help`" in done.stderr


def test_repeated_flag_is_accepted() -> None:
    done = CliRunner().invoke(cli, ["--help", "--help"])
    assert done.exit_code == 0


def test_words_after_a_double_dash_are_no_options() -> None:
    done = CliRunner(env={"WRIT_HOME": "/nonexistent"}).invoke(cli, ["trace", "-o", "json", "--", "-o"])
    assert "given more than once" not in done.stderr
