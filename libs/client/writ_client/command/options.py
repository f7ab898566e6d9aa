"""The options that every subcommand has, and how it runs: its arguments and `Settings` in, an exit status out."""

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from writ_client.command.output import Screen
from writ_client.command.settings import Settings
from writ_client.house.home import Home

Body = Callable[..., Coroutine[Any, Any, int | None]]
Command = Callable[..., Any]

_OUTPUT = click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for programs."
)
_HOME = click.option(
    "--home",
    envvar="WRIT_HOME",
    default=".writ",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The installation's folder (WRIT_HOME).",
)
_AS = click.option("--as", "principal", envvar="WRIT_PRINCIPAL", metavar="PRINCIPAL", help="Who asks (WRIT_PRINCIPAL).")
_CONTEXT = click.option(
    "--context",
    envvar="WRIT_CONTEXT",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file of `writ context -o json` (WRIT_CONTEXT).",
)


def asking(body: Body) -> Command:
    """A subcommand that asks as a principal: `body(settings, …)`."""
    for option in (_CONTEXT, _HOME, _AS, _OUTPUT):
        body = option(body)
    return _runs(body)


def local(body: Body) -> Command:
    """A subcommand that works on `$WRIT_HOME`: `body(settings, …)`."""
    for option in (_HOME, _OUTPUT):
        body = option(body)
    return _runs(body)


def _runs(body: Body) -> Command:
    @functools.wraps(body)
    def run(
        *,
        home: Path,
        form: str,
        principal: str | None = None,
        context: Path | None = None,
        **arguments: Any,
    ) -> int | None:
        settings = Settings(
            screen=Screen(form), home=Home(home), environ=os.environ, principal=principal, context=context
        )
        return asyncio.run(body(settings, **arguments))

    return run
