"""The commands in deploy/README.md and in the pages for operators."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
README = ROOT / "deploy/README.md"
BACKUPS = ROOT / "docs/operating/backup-and-restore.md"


def blocks(page: Path, section: str) -> list[list[str]]:
    """The lines of each block of commands in the section, without their prompts."""
    after = page.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```console\n(.*?)^```", after, re.MULTILINE | re.DOTALL)
    return [[line[2:] for line in block.splitlines() if line.startswith("$ ")] for block in found]


def typed(section: str) -> list[str]:
    """The lines of the first block in the section of deploy/README.md."""
    return blocks(README, section)[0]
