"""The outcome of a control operation."""

from typing import Any, Literal

from msgspec import Struct, field


class ControlOutcome(Struct, frozen=True, kw_only=True):
    """The end of a control operation. `output` is public."""

    outcome: Literal["succeeded", "failed", "unknown"] = "succeeded"
    code: str = ""
    message: str = ""
    output: dict[str, Any] = field(default_factory=dict)
