"""Words of other programs on the command line: the message names the option, operation or command of this one."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from tests.cli.test_help import commands, completed

from writ_cli.arguments import usual_names, usual_options
from writ_cli.main import cli
from writ_contracts.catalogue import BUILT_IN
from writ_testing.each_case import each_case


def refused(*words: str) -> Result:
    """Return the result of a command line that is refused in one line, with its usage."""
    done = CliRunner().invoke(cli, words, prog_name="writ")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    return done


@each_case(
    ("line", "hint"),
    [
        ("status --json", "; did you mean '--output json'? (see `writ status --help`)"),
        ("--json status", "; did you mean '--output json'?"),
        ("target list --csv", "; did you mean '--output'?"),
        ("audit search --csv", "; did you mean '--output csv'?"),
        ("op list --format json", "; did you mean '--output'?"),
        ("status -f json", "; did you mean '--output' or '--watch'?"),
        ("run service_status --host web-1", "; did you mean '--target'?"),
        ("run service_status --user bob", "; did you mean '--as'?"),
        ("run service_status --check", "; did you mean '--dry-run'?"),
        ("audit search --user bob", "; did you mean '--principal'?"),
        ("audit search --status failed", "; did you mean '--outcome'?"),
        ("audit search --from 1h", "; did you mean '--since'?"),
        ("audit search -n 5", "; did you mean '--limit'?"),
        ("stop set --duration 1h", "; did you mean '--for'?"),
        ("target remove web-1 --force", "; did you mean '--yes'?"),
        ("target remove web-1 -f", "; did you mean '--output' or '--yes'?"),
        ("context --json", "; did you mean '--output json'?"),
        ("principal roles bob --role approver", "; it is an argument: leave out --role"),
        ("approvals approve --operation abc", "; it is an argument: leave out --operation"),
        ("op list --since 1h", "; `writ audit search` has --since"),
        ("op list --status failed", "; `writ audit search` has --outcome"),
        ("trace --csv", "; did you mean '--output'?"),
        ("run file_read --file-path /tmp/x", "; file_path is a parameter of file_read: write `file_path=…`"),
        ("run file_read --file_path=/tmp/x", "; file_path is a parameter of file_read: write `file_path=…`"),
        ("simulate file_read -p file_path=/tmp/x", "; parameters follow the operation as `key=value`"),
    ],
)
def test_option_of_another_program_leads_to_ours(line: str, hint: str) -> None:
    done = refused(*line.split())
    assert done.stderr.startswith("writ: No such option '-"), done.stderr
    assert hint in done.stderr


@pytest.mark.parametrize("line", ["status --nope", "version --json", "run file_read -z", "target set web-1 -p"])
def test_option_that_nothing_stands_for_leads_nowhere(line: str) -> None:
    assert "; " not in refused(*line.split()).stderr


def test_value_of_a_parameter_that_is_written_as_an_option_is_not_shown() -> None:
    assert "hunter2" not in refused("run", "file_write", "--content=hunter2").stderr


def test_every_usual_option_leads_to_an_option_of_some_command() -> None:
    found = [command for _, command in commands(cli)]
    known = {option for command in found for one in command.params for option in one.opts}
    assert set(usual_options.OPTIONS) <= known
    for ours, names in usual_options.OPTIONS.items():
        for name in names.split():
            option = f"--{name}" if len(name) > 1 else f"-{name}"
            assert any(ours in usual_options.meant(option, one) for one in found), (ours, option)
    paths = {" ".join(("writ", *path)) for path, _ in commands(cli)}
    assert {*usual_options.RELATED, *usual_options.RELATED.values()} <= paths


def test_every_usual_operation_leads_to_one_of_the_catalogue() -> None:
    known = {one.name for one in BUILT_IN}
    assert set(usual_names.OPERATIONS.values()) <= known
    assert known.isdisjoint(usual_names.OPERATIONS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ping", "; did you mean 'network_test'?"),
        ("restart", "; did you mean 'container_restart' or 'service_restart'?"),
        ("service_restrat", "; did you mean 'service_restart'?"),
        ("wget", "; `writ operations` lists them"),
    ],
)
def test_operation_by_the_name_of_a_program_is_suggested(name: str, hint: str) -> None:
    assert hint in refused("operations", name).stderr


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("targets add web-1", "No such command 'targets'; did you mean `writ target add`?"),
        ("targets delete web-1", "No such command 'targets'; did you mean `writ target remove`?"),
        ("targets web-1", "No such command 'targets'; did you mean `writ target list`?"),
        ("principals", "No such command 'principals'; did you mean `writ principal list`?"),
        ("approval approve abc", "No such command 'approval'; did you mean `writ approvals approve`?"),
        ("tokens rm x", "No such command 'tokens'; did you mean `writ token revoke`?"),
        ("windows close", "No such command 'windows'; did you mean `writ window end`?"),
        ("windows list", "No such command 'windows'; did you mean `writ window list`?"),
        ("credential roots", "No such command 'roots'; did you mean `writ credential root list`?"),
        ("operations list", "`writ operations` itself lists them: leave out 'list'"),
        ("operations show file_read", "No such command 'show'; did you mean `writ operations NAME`?"),
    ],
)
def test_plural_of_a_group_and_a_word_after_it_lead_to_the_command_that_is_meant(line: str, hint: str) -> None:
    assert refused(*line.split()).stderr.startswith(f"writ: {hint}")


@pytest.mark.parametrize("verb", ["set", "grant", "edit", "update"])
def test_change_of_a_principal_leads_to_its_roles(verb: str) -> None:
    done = refused("principal", verb, "bob", "approver")
    assert done.stderr.startswith(f"writ: No such command '{verb}'; did you mean `writ principal roles`?")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("run", "'OPERATION'; `writ operations` lists them"),
        ("trace", "'OPERATION_OR_CORRELATION_ID'; `writ audit search` lists them"),
        ("op show", "'OPERATION'; `writ op list` lists them"),
        ("approvals approve", "'OPERATION'; `writ approvals list` lists them"),
        ("principal remove", "'NAME'; `writ principal list` lists them"),
        ("principal add", "'NAME' (see"),
        ("target set web-1", "'KEY=VALUE...' (see"),
        ("policy publish", "'FILE' (see"),
    ],
)
def test_missing_argument_names_the_command_that_lists_its_values(line: str, hint: str) -> None:
    assert refused(*line.split()).stderr.startswith(f"writ: Missing argument {hint}")


def test_every_list_of_arguments_is_a_command_that_lists() -> None:
    known = {" ".join(path): command for path, command in commands(cli)}
    assert set(usual_names.LISTS) <= set(known)
    for listed in usual_names.LISTS.values():
        assert "watch" in {one.name for one in known[listed].params}, listed
    for shown in usual_names.SHOWN.values():
        assert isinstance(known[shown].params[0], click.Argument)


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("op ", "writ op show "),
        ("approvals ", "writ approvals show "),
        ("audit ", "writ trace "),
        ("", "writ trace "),
    ],
)
@pytest.mark.parametrize("number", ["xluo7r4e76dngqppkrdhwbtk2e", "xluo7r4e"])
def test_id_in_place_of_a_command_leads_to_the_one_that_shows_it(line: str, ours: str, number: str) -> None:
    assert f"; did you mean `{ours}{number}`? (see" in refused(*line.split(), number).stderr


def test_misspelt_command_with_a_digit_is_no_id() -> None:
    assert "; did you mean 'backup'? (see" in refused("backup2").stderr


def test_shell_completes_nothing_after_the_name_of_a_list_and_a_word(tmp_path: Path) -> None:
    assert completed(tmp_path, "operations", "add") == []
    assert completed(tmp_path, "operations", last="--wat") == ["--watch"]


def test_word_that_names_the_target_leads_to_its_option() -> None:
    expected = "writ: --target TARGET is missing: write `-t web-1` in place of target=web-1 (see"
    assert refused("run", "file_read", "file_path=/x", "target=web-1").stderr.startswith(expected)
    assert "`-t web-1` in place of host=web-1" in refused("simulate", "file_read", "host=web-1").stderr
    expected = "writ: --target TARGET is missing: `-t web-1` if web-1 is the target; `writ target list` lists them (see"
    assert refused("run", "service_status", "web-1", "service_name=nginx").stderr.startswith(expected)
    of_its_own = refused("run", "network_test", "host=db-1")  # it has such a parameter
    assert "`writ target list` lists them" in of_its_own.stderr


def test_text_in_place_of_a_number_is_no_whole_number() -> None:
    expected = "writ: Invalid value for '--limit': 'lots' is not a whole number (see"
    assert refused("audit", "search", "--limit", "lots").stderr.startswith(expected)


def test_word_without_a_name_leads_to_the_parameters() -> None:
    expected = "writ: 'nginx' is not key=value; there are service_name, timeout"
    assert refused("run", "service_restart", "-t", "web-1", "nginx").stderr.startswith(expected)


@pytest.mark.parametrize("verb", ["challenge", "approve", "reject"])
def test_several_requests_are_decided_one_after_another(verb: str) -> None:
    done = refused("approvals", verb, "aaaa", "bbbb")
    meant = f"one request at a time, since you decide by its card: `writ approvals {verb} aaaa`, then the next"
    assert done.stderr.startswith(f"writ: {meant} (see ")


def test_unknown_operation_is_named_before_words_that_are_no_parameters() -> None:
    """It is not said that there is none: the installation may have an operation that is not known here."""
    meant = "writ: operation 'restart' is not known here; did you mean 'container_restart' or 'service_restart'? Also, "
    assert refused("run", "restart", "-t", "web-1", "nginx").stderr == f"{meant}'nginx' is not key=value\n"
    without = refused("run", "restart", "nginx").stderr
    assert without.startswith(f"{meant}--target TARGET is missing (see"), without
    assert "writ: operation 'service_restrat' is" in refused("simulate", "service_restrat", "-t", "vm", "nginx").stderr
