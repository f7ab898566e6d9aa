"""How much of parameters, trace and output the journal keeps (`SYSTEMMANAGER_AUDIT_LEVEL`).

The events themselves, their order, their decisions and who signed what are the same at every level.
Control operations are always kept whole: what was done to Writ itself everybody must know.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct, json

from writ_contracts import parameters as params
from writ_contracts.operations import Operation

AuditLevel = Literal["minimal", "standard", "full"]


class AuditDetail(Struct, frozen=True, kw_only=True):
    """What one level keeps."""

    traced: int
    """Rules in the trace of a decision, at the most."""
    values: bool
    """Values of public parameters; without them they are kept as secret ones are, until the outcome."""
    outputs: bool
    """Public outputs and states; without them they go to the requester alone."""
    refused_bytes: int
    """Of the parameters of a refused request."""
    shown_bytes: int
    """Of what a preview or a probe saw."""

    def given(self, definition: Operation, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The values that the record has of the caller's parameters, and the names of the others."""
        if self.values or definition.control:
            return params.public(definition.parameters, given), params.hidden(definition.parameters, given)
        return {}, sorted(given)

    def effective(self, definition: Operation, effective: Mapping[str, Any]) -> dict[str, Any]:
        """With all defaults. What an agent looks at before it starts it must be told in any case."""
        if self.values or definition.control or definition.baseline:
            return params.public(definition.parameters, effective)
        return {}

    def refused(self, definition: Operation, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """As `given`, and nothing that is too large."""
        shown, hidden = self.given(definition, given)
        return (shown if len(json.encode(shown)) <= self.refused_bytes else {}), hidden

    def shown(self, observed: dict[str, Any]) -> dict[str, Any]:
        """What was seen, unless it is too large."""
        if len(json.encode(observed)) <= self.shown_bytes:
            return observed
        return {"note": f"more than {self.shown_bytes} bytes: not kept in the journal"}


LEVELS: Mapping[AuditLevel, AuditDetail] = MappingProxyType(
    {
        "minimal": AuditDetail(traced=0, values=False, outputs=False, refused_bytes=0, shown_bytes=8_192),
        "standard": AuditDetail(traced=40, values=True, outputs=True, refused_bytes=8_192, shown_bytes=8_192),
        "full": AuditDetail(traced=150, values=True, outputs=True, refused_bytes=24_576, shown_bytes=24_576),
    }
)
