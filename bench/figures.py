"""Keep measured figures in `figures/` for the plots: one file for each measurement."""

from pathlib import Path
from typing import TypeVar

from msgspec import json

FOLDER = Path(__file__).with_name("figures")
Kind = TypeVar("Kind")


def keep(name: str, found: object) -> None:
    """Store the figures in place of those of the previous run."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_bytes(json.format(json.encode(found)) + b"\n")


def kept(name: str, kind: type[Kind]) -> Kind:
    """Return the figures of the last run."""
    return json.decode((FOLDER / f"{name}.json").read_bytes(), type=kind)
