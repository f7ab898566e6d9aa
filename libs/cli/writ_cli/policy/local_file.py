"""The policy file in use after a publish: what it says must not differ from what is in force without a word."""

import hashlib
from pathlib import Path

import click

from writ_cli.context.settings import Settings
from writ_cli.terminal.output import visible
from writ_documents import atomic_files
from writ_installation.files.home import Home
from writ_installation.processes.report import read_report


def updated(settings: Settings, document: str, before: str) -> str:
    """Write the document into the policy file that is in use, unless somebody has changed that since `before`. Return a
    note if it was written. It comes before all output, which may end by a closed pipe.

    `before`: digest of the version that was in force.
    """
    path = _in_use(settings.home)
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


def _in_use(home: Home) -> Path:
    """Return the file that `writ up` was given, otherwise that of the installation."""
    report = read_report(home.report_file)
    return Path(report.policy_file) if report is not None and report.policy_file else home.policy


def _warn(text: str) -> None:
    click.echo(f"writ: {visible(text)}", err=True)
