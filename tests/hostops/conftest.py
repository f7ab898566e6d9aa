"""A folder that is declared as a file root, and a host on which one operation at a time is asked for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import writ_hostops

Result = dict[str, Any]
Ask = Callable[..., Result]


@pytest.fixture
def srv(tmp_path: Path) -> Path:
    """The one declared file root."""
    root = tmp_path.resolve() / "srv"
    root.mkdir()
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A secret that is beneath no root."""
    secret = tmp_path.resolve() / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_text("outside")
    return secret


@pytest.fixture
def ask(srv: Path) -> Ask:
    """Carries out one request in process: `ask("file_read", file_path=…)`."""

    def ask(
        operation: str,
        action: str = "run",
        *,
        target: Mapping[str, Any] | None = None,
        request: Mapping[str, Any] | None = None,
        stop: writ_hostops.Stop | None = None,
        **parameters: Any,
    ) -> Result:
        message = {
            "id": "op-1",
            "action": action,
            "operation": operation,
            "parameters": parameters,
            "target": {"file_roots": [str(srv)], **(target or {})},
            **(request or {}),
        }
        return writ_hostops.run(message, stop=stop)

    return ask


def names(folder: Path) -> list[str]:
    """What is in it."""
    return sorted(path.name for path in folder.iterdir())


def litter(folder: Path) -> list[str]:
    """What a write may leave beside the file if it is killed; nothing else may."""
    return [name for name in names(folder) if name.startswith(".writ-")]
