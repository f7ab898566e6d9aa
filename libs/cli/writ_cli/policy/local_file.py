"""The installation's policy file after a publish: what it says must not differ from what is in force without a word."""

import hashlib

import click

from writ_cli.context.settings import Settings
from writ_cli.terminal.output import visible
from writ_documents import atomic_files


def updated(settings: Settings, document: str, before: str) -> str:
    """Write the document into the installation's policy file, unless somebody has changed that since `before`. Return a
    note if it was written. It comes before all output, which may end by a closed pipe.

    `before`: digest of the version that was in force.
    """
    path = settings.home.policy
    if settings.context is not None or not path.exists():
        return ""
    data = document.encode()
    try:
        there = path.read_bytes()
        if there == data:
            return ""
        if hashlib.sha256(there).hexdigest() != before:
            _warn(f"{path} has changes that are not in force; it does not count")
            return ""
        atomic_files.save(path, data)
    except OSError as error:
        _warn(f"{path} is not updated, and does not count: {error.strerror}")
        return ""
    return f"{path} has it now, too"


def _warn(text: str) -> None:
    click.echo(f"writ: {visible(text)}", err=True)
