"""The Python client of Writ and the `writ` command. Nothing here decides or carries out: requests go over the bus."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from writ_client.client import Writ as Writ


def __getattr__(name: str) -> Any:
    """`Writ`, read when somebody wants it: the command is ready for a Ctrl-C before it reads all that."""
    if name == "Writ":
        from writ_client.client import Writ  # noqa: PLC0415

        return Writ
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
