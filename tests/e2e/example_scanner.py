"""A short example of a scanner: it reports bad releases among the pinned requirements of a target.

`python example_scanner.py CONTEXT TARGET FILE`: CONTEXT is the output of `writ context SCANNER -o json`, FILE the
requirements.
"""

import asyncio
import sys
import time
from pathlib import Path

from writ_client.client import Writ
from writ_contracts.policy.facts import Finding, ScanReport

KNOWN_BAD = {"leftpad==1.0": ("EXAMPLE-2026-1", "runs what it is sent"), "lint==2.1": ("EXAMPLE-2026-2", "is slow")}
CRITICAL = {"EXAMPLE-2026-1"}


def findings(text: str, now: float) -> list[Finding]:
    """Return one finding for each line with a bad release."""
    found = [KNOWN_BAD[line.strip()] for line in text.splitlines() if line.strip() in KNOWN_BAD]
    return [
        Finding(id=name, severity="critical" if name in CRITICAL else "low", title=title, found_at=now)
        for name, title in found
    ]


async def main(context: str, target: str, file: str) -> None:
    """Scan once and report once."""
    now = time.time()
    report = ScanReport(target=target, at=now, findings=findings(Path(file).read_text(), now))
    async with await Writ.from_context(context) as writ:
        print(await writ.report(report))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
