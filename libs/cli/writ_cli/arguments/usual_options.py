"""Options of other programs, such as `--json`, `--host` and `--user`: the message names the option of this command."""

from collections.abc import Mapping, Sequence

import click
from click.exceptions import NoSuchOption

from writ_cli.arguments.misplaced_options import named_command
from writ_cli.arguments.usual_names import PluralCommand
from writ_contracts.nearest_name import did_you_mean

FORMS = {"--json": "json", "--yaml": "yaml", "--jsonl": "jsonl", "--csv": "csv"}
"""The value of `-o` that each means, where the command has such an output."""
OPTIONS: Mapping[str, str] = {
    "--output": "format f out",
    "--target": "host hosts H server node machine",
    "--principal": "user by who actor u requester",
    "--as": "user principal identity u",
    "--outcome": "status state result",
    "--since": "from after start newer-than",
    "--until": "to end older-than",
    "--text": "grep search query filter",
    "--columns": "fields",
    "--dry-run": "check C simulate plan noop n",
    "--limit": "n max count lines tail last",
    "--operation": "op action command type",
    "--kind": "type",
    "--reason": "message m comment why description",
    "--tag": "label selector l labels tags",
    "--role": "roles group",
    "--serial": "forks parallel concurrency batch",
    "--for": "duration expires ttl until",
    "--expires": "ttl duration for",
    "--ssh-key": "key identity i",
    "--no-wait": "async background detach d nowait",
    "--detach": "background daemon d",
    "--yes": "force f assume-yes no-confirm confirm",
    "--watch": "follow f w",
    "--home": "config dir folder",
    "--context": "profile server url",
}
"""The names of each of our options in other programs, without their dashes. Of several that fit, the first is meant."""
AMBIGUOUS = frozenset(("-f",))
"""Options of which each that fits may be meant: `-f json` of `run` is no `rm -f`."""
ASSIGNMENTS = frozenset(("--param", "--parameter", "--set", "--arg", "--args", "--extra-vars", "-p", "-e"))
"""Options that take `key=value` in other programs."""
RELATED = {"writ op list": "writ audit search", "writ trace": "writ audit search"}
"""Commands whose options people look for in another one."""


class MeantOption(NoSuchOption):
    """Raised for an option that the command lacks; its message names what does the same."""


def usual_option(error: NoSuchOption, root: click.Context, words: Sequence[str]) -> NoSuchOption:
    """Return the error with what does the same in this command, or in a related one; else the error itself.

    Raises UsageError where a word before the option belongs to another command: `operations show file_read --json`.
    """
    command, _, _, rest = named_command(root, words)
    if isinstance(command, PluralCommand) and error.ctx is not None:
        command.refuse_first(error.ctx, rest)
    hint = _hint(error.option_name, root, words)
    message = f"No such option {error.option_name!r}{hint}"
    return MeantOption(error.option_name, message, ctx=error.ctx) if hint else error


def _hint(option: str, root: click.Context, words: Sequence[str]) -> str:
    command, path, _, _ = named_command(root, words)
    if {"operation", "words"} <= {one.name for one in command.params} and (hint := _as_parameter(option, words)):
        return hint
    if ours := meant(option, command):
        return did_you_mean(ours)
    if _is_argument(option, command):
        return f"; it is an argument: leave out {option}"
    related = RELATED.get(" ".join(path), "")
    other, *_ = named_command(root, related.split()[1:])
    ours = ([option] if _has(other, option) else meant(option, other)) if related else []
    return f"; `{related}` has {ours[0]}" if ours else ""


def _is_argument(option: str, command: click.Command) -> bool:
    """Return whether the option has the name of an argument, such as `--role` that of the roles of a principal."""
    name = option.lstrip("-").replace("-", "_")
    return any(isinstance(one, click.Argument) and one.name in (name, f"{name}s") for one in command.params)


def _as_parameter(option: str, words: Sequence[str]) -> str:
    """Return how a parameter of the operation among the words is written, if the option stands for one."""
    from writ_runtime.plugins.entry_points import load_catalogue  # noqa: PLC0415 - few commands need the catalogue

    catalogue = load_catalogue()
    operation = next((catalogue[word] for word in words if word in catalogue), None)
    name = option.lstrip("-").replace("-", "_")
    if operation is not None and name in operation.parameters.__struct_fields__:
        return f"; {name} is a parameter of {operation.name}: write `{name}=…`"
    return "; parameters follow the operation as `key=value`" if option in ASSIGNMENTS else ""


def meant(option: str, command: click.Command) -> list[str]:
    """Return the command's option for one of another program; of an ambiguous one, all that it may stand for."""
    if option in FORMS:
        forms = next((one.type for one in command.params if one.name == "form"), None)
        known = isinstance(forms, click.Choice) and FORMS[option] in forms.choices
        return [f"--output {FORMS[option]}" if known else "--output"] if forms else []
    name = option.lstrip("-")
    found = [ours for ours, names in OPTIONS.items() if name in names.split() and _has(command, ours)]
    return found if option in AMBIGUOUS else found[:1]


def _has(command: click.Command, option: str) -> bool:
    return any(option in one.opts for one in command.params)
