"""No option takes the next option for its value: `--reason --dry-run` would carry out what should only be previewed."""

import click
import pytest
from click.testing import CliRunner
from tests.cli.test_repeated_options import COMMANDS

from writ_cli.main import cli
from writ_testing.each_case import each_case


def refused(*words: str) -> str:
    done = CliRunner(env={"WRIT_HOME": "/dev/null/none"}).invoke(cli, words, prog_name="writ")
    assert (done.exit_code, done.stdout) == (2, ""), (words, done.stdout)
    return done.stderr


@each_case("path", COMMANDS)
def test_an_option_is_no_value_of_the_one_before(path: str) -> None:
    for option in COMMANDS[path].params:
        if isinstance(option, click.Option) and not option.is_flag and not option.count:
            for name in option.opts:
                assert f"{name} needs a value, and the option --help follows" in refused(*path.split(), name, "--help")


def test_preview_is_not_carried_out_for_the_lack_of_a_reason() -> None:
    request = ("run", "service_restart", "-t", "web-1", "service_name=nginx")
    expected = "writ: --reason needs a value, and the option --dry-run follows; if it is the value: `--reason=…` (see"
    assert refused(*request, "--reason", "--dry-run").startswith(expected)
    assert "-r needs a value, and the option --timeout follows" in refused(*request, "-r", "--timeout=secret")
    assert "secret" not in refused(*request, "-r", "--timeout=secret")


@pytest.mark.parametrize(
    ("words", "taker", "follows"),
    [
        ("-yr --dry-run", "-r", "the option --dry-run"),
        ("-yr --dryrun", "-r", "--dryrun"),
        ("--reason --dryrun", "--reason", "--dryrun"),
        ("--reason --check=secret", "--reason", "--check"),
        ("--reason -n", "--reason", "-n"),
        ("--reason -tweb-2", "--reason", "the option -t"),
        ("-r -yt", "-r", "the option -y"),
    ],
)
def test_misspelt_or_shortened_option_is_no_value_either(words: str, taker: str, follows: str) -> None:
    stderr = refused("run", "network_status", "-t", "web-1", *words.split())
    assert stderr.startswith(
        f"writ: {taker} needs a value, and {follows} follows; if it is the value: `--reason=…` (see"
    )


@pytest.mark.parametrize("words", ["--reason -", "-r -1", "-yr -2h", "-rdry", "-r --", "--reason=--dryrun", "-yr=-x"])
def test_dash_and_numbers_are_values(words: str) -> None:
    assert "No such option '--nope'" in refused("run", "network_status", "-t", "web-1", *words.split(), "--nope")


def test_missing_value_is_named_before_the_option_that_it_hides() -> None:
    done = refused("target", "add", "web-1", "--local", "--role", "staging")
    assert done.startswith("writ: --local needs a value, and the option --role follows")


def test_value_behind_an_equals_sign_or_a_double_dash_may_be_any_text() -> None:
    assert "needs a value" not in refused("trace", "x", "--as=--help", "--nope")
    assert "needs a value" not in refused("trace", "--nope", "--", "--as", "--help")
