"""The result of a control operation."""

from typing import Any, Literal

from msgspec import Struct, field


class ControlResult(Struct, frozen=True, kw_only=True):
    """How a control operation ended. `output` is public."""

    outcome: Literal["succeeded", "failed", "unknown"] = "succeeded"
    code: str = ""
    message: str = ""
    output: dict[str, Any] = field(default_factory=dict)
