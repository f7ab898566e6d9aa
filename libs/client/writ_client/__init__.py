"""The Python client of Writ. Nothing here decides or carries out: requests go over the bus."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from writ_client.client import Writ as Writ


def __getattr__(name: str) -> Any:
    """Import `Writ` on first use: the command handles a Ctrl-C before that long import."""
    if name == "Writ":
        from writ_client.client import Writ  # noqa: PLC0415

        return Writ
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
