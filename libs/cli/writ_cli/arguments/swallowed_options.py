"""Finds an option that stands where the value of another one is missing: click takes it for the value.

`writ run … --reason --dry-run` would carry out the operation, with `--dry-run` as its reason.
"""

from collections.abc import Sequence

import click


def refuse_swallowed(context: click.Context, words: Sequence[str]) -> None:
    """Raises UsageError for an option of this command in the place of a value, before a `--`."""
    options = [one for one in context.command.get_params(context) if isinstance(one, click.Option)]
    names = {name for one in options for name in (*one.opts, *one.secondary_opts)}
    takers = {name: one for one in options if not (one.is_flag or one.count) for name in one.opts}
    left = iter(words)
    for word in left:
        if word == "--":
            return
        if word in takers and (value := next(left, "").partition("=")[0]) in names:
            meant = f"if it is the value: `{max(takers[word].opts, key=len)}=…`"
            raise click.UsageError(f"{word} needs a value, and the option {value} follows; {meant}", context)
