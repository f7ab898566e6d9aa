"""The commands in deploy/README.md."""

import re
from pathlib import Path

TEXT = (Path(__file__).parents[3] / "deploy" / "README.md").read_text()


def typed(section: str) -> list[str]:
    """The lines of the section's first block, without their prompts."""
    after = TEXT.partition(f"\n## {section}\n")[2]
    (block,) = re.findall(r"\A.*?^```console\n(.*?)^```", after, re.MULTILINE | re.DOTALL)
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]
