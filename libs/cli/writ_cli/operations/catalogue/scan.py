"""`writ scan`: findings on targets for rules, from a report or by a plugin's scanner."""

import time
from collections.abc import Sequence
from typing import Any, BinaryIO

import click
import msgspec
from msgspec import Struct

from writ_cli.arguments import completed_names
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.catalogue import scan_process
from writ_cli.operations.catalogue.parameter_words import parse
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid, WritError
from writ_contracts.nearest_name import near
from writ_contracts.plural import plural
from writ_contracts.policy.facts import MOST_REPORT_BYTES, ScanReport
from writ_contracts.scanners import Scanner
from writ_contracts.type_words import plain_words
from writ_contracts.wire import decode, encode
from writ_runtime.plugins.entry_points import load_scanners

SCAN_SECONDS = 300.0


@click.group(cls=CommandGroup)
def scan() -> None:
    """Run scanners, and report their findings."""


@scan.command()
@click.argument("file", type=click.File("rb"))
@asking
async def report(settings: Settings, file: BinaryIO) -> int:
    """Send the report in FILE (`-`: standard input), as the principal of `--as`.

    JSON: `target`, and `findings` with `id`, `severity` (low, medium, high, critical), `found_at` (Unix seconds) and
    optionally a `title`; `at` is now by default.
    """
    fields: dict[str, Any] = decode(file.read(MOST_REPORT_BYTES + 1), dict[str, Any], limit=MOST_REPORT_BYTES)
    made = decode(encode({"at": time.time(), **fields}), ScanReport)
    row = await _send(settings, made)
    if settings.screen.json:
        settings.screen.data(row)
    else:
        settings.screen.line(f"stored as {row.digest[:12]}: {plural(row.findings, 'finding')} on {row.target}")
    return Exit.DONE


@scan.command()
@click.argument("scanner", shell_complete=completed_names.scanners)
@target_option("A target; repeatable.", "targets", metavar="ID", multiple=True, required=True)
@click.option(
    "--with",
    "words",
    metavar="KEY=VALUE",
    multiple=True,
    help="An option of the scanner; repeatable.",
    shell_complete=completed_names.scanner_options,
)
@asking
async def run(settings: Settings, scanner: str, targets: tuple[str, ...], words: tuple[str, ...]) -> int:
    """Scan targets by the plugin's SCANNER, and report the findings as the principal of `--as`.

    An unreachable target keeps its earlier report, and the command ends with status 1.
    """
    options = _options(scanner, _scanner(scanner), words)
    rows = [await _scanned(settings, scanner, target, options) for target in targets]
    if settings.screen.json:
        settings.screen.data(rows)
    else:
        shown = ((row.target, row.findings, row.digest[:12], row.error) for row in rows)
        settings.screen.table(("target", "findings", "stored as", "error"), shown, drop=("stored as",))
    return Exit.FAILED if any(row.error for row in rows) else Exit.DONE


class ReportRow(Struct, frozen=True, kw_only=True):
    """One report, as `-o json` has it. Stable: fields may be added. `digest` is empty where nothing was stored."""

    target: str
    at: float
    findings: int = 0
    digest: str = ""
    error: str = ""


def _scanner(name: str) -> Scanner:
    scanners = load_scanners()
    if name in scanners:
        return scanners[name]
    if not scanners:
        raise Invalid("no scanner is installed here: install a plugin that has one (docs/plugins.md)")
    known = near(name, scanners) or f"; there are {', '.join(scanners)}"
    raise Invalid(f"no scanner {name!r} is installed here{known}")


def _options(name: str, one: Scanner, words: Sequence[str]) -> Struct:
    try:
        return msgspec.convert(parse(words, one.options), one.options)
    except msgspec.ValidationError as error:
        raise Invalid(f"the options of {name} (--with KEY=VALUE): {plain_words(str(error))}") from error


async def _scanned(settings: Settings, scanner: str, target: str, options: Struct) -> ReportRow:
    at = time.time()
    try:
        findings = await scan_process.scan(scanner, target, options, seconds=SCAN_SECONDS)
        return await _send(settings, ScanReport(target=target, at=at, findings=findings))
    except WritError as error:
        return ReportRow(target=target, at=at, error=str(error))


async def _send(settings: Settings, made: ScanReport) -> ReportRow:
    async with await settings.connect() as writ:
        digest = await writ.report(made)
    if not digest:
        raise Invalid("the reply to the report has no digest")
    return ReportRow(target=made.target, at=made.at, findings=len(made.findings), digest=digest)
