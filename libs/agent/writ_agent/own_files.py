"""Spellings of an agent's own files on its machine, which no operation may reach."""

from collections.abc import Iterable
from pathlib import Path


def spellings(own: Iterable[Path]) -> list[str]:
    """Return each as it is named, and without links."""
    return sorted({str(path) for one in own for path in (one.absolute(), one.resolve())})
