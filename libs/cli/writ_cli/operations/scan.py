"""`writ scan report`: a scanner's findings on a target, for rules that use them."""

import time
from typing import Any, BinaryIO

import click

from writ_cli.exit_status import Exit
from writ_cli.options import asking
from writ_cli.settings import Settings
from writ_contracts.errors import Invalid
from writ_contracts.facts import MOST_REPORT_BYTES, ScanReport
from writ_contracts.wire import decode, encode


@click.group()
def scan() -> None:
    """Reports of scanners."""


@scan.command()
@click.argument("file", type=click.File("rb"))
@asking
async def report(settings: Settings, file: BinaryIO) -> int:
    """Send the report in FILE (`-`: standard input), as the scanner that `--as` names.

    JSON: `target`, and `findings` with `id`, `severity` (low, medium, high, critical), `found_at` (Unix seconds) and
    optionally a `title`; `at` is now by default.
    """
    fields: dict[str, Any] = decode(file.read(MOST_REPORT_BYTES + 1), dict[str, Any], limit=MOST_REPORT_BYTES)
    made = decode(encode({"at": time.time(), **fields}), ScanReport)
    async with await settings.connect() as writ:
        digest = await writ.report(made)
    if not digest:
        raise Invalid("the report was answered without a digest")
    if settings.screen.json:
        settings.screen.data({"target": made.target, "at": made.at, "findings": len(made.findings), "digest": digest})
    else:
        settings.screen.line(f"{len(made.findings)} findings on {made.target} are stored as {digest[:12]}")
    return Exit.DONE
