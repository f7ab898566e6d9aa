"""Finds an option that stands where the value of another one is missing: click takes it for the value.

`writ run … --reason --dry-run` would carry out the operation, with `--dry-run` as its reason. A misspelt option, or one
of another program, is no value either: `--reason --dryrun`.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import click

_OPTION = re.compile(r"--?[A-Za-z]")
"""The beginning of an option. `-` (standard input), `-1` and `-2h` are values."""


def refuse_swallowed(context: click.Context, words: Sequence[str]) -> None:
    """Raises UsageError for a word like an option in the place of an option's value, before a `--`."""
    options = [one for one in context.command.get_params(context) if isinstance(one, click.Option)]
    names = {name for one in options for name in (*one.opts, *one.secondary_opts)}
    takers = {name: one for one in options if not (one.is_flag or one.count) for name in one.opts}
    left = iter(words)
    for word in left:
        if word == "--":
            return
        if (taker := _taker(word, names, takers)) and _OPTION.match(value := next(left, "")):
            meant = f"if it is the value: `{max(takers[taker].opts, key=len)}=…`"
            raise click.UsageError(f"{taker} needs a value, and {_shown(value, names)} follows; {meant}", context)


def _taker(word: str, names: Collection[str], takers: Mapping[str, click.Option]) -> str:
    """Return the option whose value is the next word: the word itself, or the last of letters (`-yr`) of which the
    others are flags; "" if there is none.
    """
    if word in takers or word.startswith("--") or not word.startswith("-"):
        return word if word in takers else ""
    *flags, last = (f"-{letter}" for letter in word[1:] or "-")
    return last if last in takers and all(one in names and one not in takers for one in flags) else ""


def _shown(value: str, names: Collection[str]) -> str:
    """Return the option that the word is, without a value of its own; of an unknown one, the whole name."""
    name = value.partition("=")[0]
    known = next((one for one in (name, name[:2]) if one in names), "")
    return f"the option {known}" if known else name
