"""`writ policy init`: an initial policy, with the suite that tests it."""

import os
from importlib import resources
from pathlib import Path

import click
from msgspec import Struct

from writ_cli.arguments.options import local
from writ_cli.context.settings import Settings
from writ_cli.policy.files import FILE
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid
from writ_rules.suites import default_suite_path

TEMPLATES = ("homelab", "production", "ci-runner", "ai-assistant", "change-freeze")


class InitialFiles(Struct, frozen=True, kw_only=True):
    """The two files, as `-o json` has them. Stable: fields may be added."""

    template: str
    policy: str
    suite: str


@click.command()
@click.argument("file", type=FILE, default=Path("policy.yaml"), metavar="[FILE]")
@click.option("--template", type=click.Choice(TEMPLATES), required=True, help="The kind of installation.")
@local
async def init(settings: Settings, file: Path, template: str) -> int:
    """Write a policy to begin with.

    Writes the policy to FILE (policy.yaml), and a suite of its test cases beside it.

    \b
    homelab        one owner, a family, an AI agent on a lead
    production     windows, approvals, freezes, gateways, emergencies
    ci-runner      a pipeline that deploys, and people around it
    ai-assistant   AI agents beside people: they read, restart, request the rest
    change-freeze  no change between two dates, except restarts and other repairs

    Nothing is overwritten.
    """
    suite = default_suite_path(file)
    _write(file, suite, template)
    if settings.screen.json:
        settings.screen.data(InitialFiles(template=template, policy=str(file), suite=str(suite)))
    else:
        settings.screen.line(f"{file} is the policy, {suite} has its cases")
        rows = (
            (f"writ policy test {suite}", "run them, after each change"),
            (f"writ policy validate {file} --running", "whether your people and targets are those that it names"),
            (f"writ policy diff {file}", "what it would change"),
            (f"writ policy publish {file} --reason …", "put it in force"),
        )
        width = max(len(command) for command, _ in rows)
        for command, what in rows:
            settings.screen.line(f"  {command:{width}}   {what}")
    return Exit.DONE


def texts(template: str, policy: str) -> tuple[str, str]:
    """Return a template and its suite, with the suite's reference to this policy file."""
    folder = resources.files("writ_cli.policy") / "templates"
    suite = (folder / f"{template}_test.yaml").read_text()
    return (folder / f"{template}.yaml").read_text(), suite.replace(f"policy: {template}.yaml\n", f"policy: {policy}\n")


def _write(policy: Path, suite: Path, template: str) -> None:
    for path in (policy, suite):
        if path.exists() or path.is_symlink():
            raise Invalid(f"{path} is there already: nothing is overwritten")
    for path, text in zip((policy, suite), texts(template, policy.name), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
