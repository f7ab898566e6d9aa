"""The options by which `writ run` acts on many targets, packed into one value."""

from collections.abc import Callable
from typing import Any, get_args

import click
from msgspec import Struct

from writ_cli.arguments import completion
from writ_cli.arguments.correlation_option import checked_correlation
from writ_cli.arguments.options import packed, target_option
from writ_cli.terminal.confirmation import confirm
from writ_client.operations.target_selection import TargetSelector
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import Role
from writ_contracts.journal import Outcome
from writ_contracts.plural import plural
from writ_contracts.requests import TargetView

GLOB = frozenset("*?[")
OUTCOMES = ("ok", *get_args(Outcome), "pending", "skipped", "error")

OPTIONS = (
    target_option("Targets: names and globs ('web-*').", "targets", multiple=True),
    click.option("--role", "roles", multiple=True, type=click.Choice(get_args(Role)), help="Targets of this role."),
    click.option(
        "--tag", "tags", multiple=True, metavar="TAG", help="Targets with this tag.", shell_complete=completion.tags
    ),
    click.option("--all", "everything", is_flag=True, help="All targets; asks first."),
    click.option("--yes", "-y", is_flag=True, help="Do not ask."),
    click.option(
        "--serial",
        metavar="N|N%",
        help="Number of targets at a time; the next ones start when these have ended, and not after --timeout.",
    ),
    click.option(
        "--max-failures", type=click.IntRange(1), metavar="N", help="Start no further target after N failures."
    ),
    click.option(
        "--only",
        multiple=True,
        type=click.Choice(OUTCOMES),
        metavar="OUTCOME",
        help="Show only targets with this outcome; with --retry, request it only for these.",
    ),
    click.option(
        "--retry",
        metavar="RUN",
        callback=checked_correlation,
        shell_complete=completion.runs,
        help="Request it again for the targets that did not succeed in this run.",
    ),
)


class TargetChoice(Struct, frozen=True, kw_only=True):
    """The targets chosen by the options of a command."""

    targets: tuple[str, ...]
    roles: tuple[str, ...]
    tags: tuple[str, ...]
    everything: bool
    yes: bool
    serial: str | None
    max_failures: int | None
    only: tuple[str, ...]
    retry: str | None

    @property
    def many(self) -> bool:
        """Return True if they can mean more than one target."""
        several = len(self.targets) > 1 or any(GLOB & set(name) for name in self.targets)
        return bool(several or self.roles or self.tags or self.everything or self.retry)

    @property
    def single(self) -> str | None:
        """Return the one named target. Raises UsageError for options about several."""
        for name, value in (("--serial", self.serial), ("--max-failures", self.max_failures), ("--only", self.only)):
            if value:
                raise click.UsageError(f"{name} is for several targets, and one is named")
        return self.targets[0] if self.targets else None

    @property
    def selector(self) -> TargetSelector:
        """Which targets they cover. Raises UsageError for `--all` beside others."""
        if self.everything and (self.targets or self.roles or self.tags):
            raise click.UsageError("--all is every target: leave it out, or the other options")
        return TargetSelector(globs=self.targets, roles=self.roles, tags=self.tags)

    def batch(self, count: int) -> int | None:
        """Return the number of targets at a time. Raises Invalid."""
        if self.serial is None:
            return None
        number = self.serial.removesuffix("%")
        if not number.isdecimal() or int(number) < 1:
            raise Invalid(f"--serial {self.serial!r} is neither a number nor a percentage, from 1 on")
        return max(1, count * int(number) // 100) if self.serial.endswith("%") else int(number)

    def confirm(self, operation: str, chosen: list[str]) -> None:
        """Ask before all targets are acted on. Raises UsageError where nobody can answer, Abort for a no."""
        confirm(
            f"{operation} on all {len(chosen)} targets?",
            yes=self.yes or not self.everything,
            without_terminal=f"--all is {plural(len(chosen), 'target')}: confirm with --yes",
        )

    def shows(self, outcome: str, *, ok: bool) -> bool:
        return not self.only or self.retry is not None or outcome in self.only or (ok and "ok" in self.only)


def choosing(body: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, as the argument `choice`. Above its other options, help lists them first."""
    made = packed(TargetChoice, "choice")(body)
    for option in reversed(OPTIONS):
        made = option(made)
    return made


def offered(known: list[TargetView]) -> list[TargetView]:
    """Return the targets to choose from, without Writ itself."""
    return [target for target in known if target.id != WRIT_TARGET]
