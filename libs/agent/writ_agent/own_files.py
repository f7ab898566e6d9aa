"""Spellings of an agent's own files on its machine, which no operation may reach."""

import os
from collections.abc import Iterable
from pathlib import Path


def spellings(own: Iterable[Path]) -> list[str]:
    """Return each as it is named, and without links."""
    # Not Path.resolve: before Python 3.13 it raises RuntimeError for a loop of links.
    return sorted({path for one in own for path in (str(one.absolute()), os.path.realpath(one))})
