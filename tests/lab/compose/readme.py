"""The commands in deploy/README.md."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[3] / "deploy" / "README.md").read_text()


def blocks(section: str) -> list[list[str]]:
    """The lines of each block of commands before the next heading, without their prompts."""
    text = re.split(r"^##+ (.*)\n", TEXT, flags=re.MULTILINE)
    found = re.findall(r"^```console\n(.*?)^```", text[text.index(section) + 1], re.MULTILINE | re.DOTALL)
    return [[line[2:] for line in block.splitlines() if line.startswith("$ ")] for block in found]


def typed(section: str) -> list[str]:
    """The lines of the section's first block."""
    return blocks(section)[0]
