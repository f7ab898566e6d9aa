"""The audit level: how much of parameters, traces and outputs the journal keeps (`SYSTEMMANAGER_AUDIT_LEVEL`).

The events, their order, decisions and signatures are the same at every level. Control operations are always kept whole,
since everybody must know the changes of Writ itself.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct, json

from writ_contracts import parameters as params
from writ_contracts.operations import Operation

AuditLevel = Literal["minimal", "standard", "full"]


class AuditDetail(Struct, frozen=True, kw_only=True):
    """The detail kept at one audit level."""

    traced: int
    """Largest number of rules in the trace of a decision."""
    values: bool
    """Values of public parameters; otherwise they are kept like secret ones, until the outcome."""
    outputs: bool
    """Public outputs and states; otherwise only the requester gets them."""
    refused_bytes: int
    """Bytes of a refused request's parameters."""
    shown_bytes: int
    """Bytes of a preview or probe result."""

    def sent(self, definition: Operation, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the parameters to record, and the names of the others."""
        if self.values or definition.control:
            return params.public(definition.parameters, parameters), params.hidden(definition.parameters, parameters)
        return {}, sorted(parameters)

    def effective(self, definition: Operation, effective: Mapping[str, Any]) -> dict[str, Any]:
        """Return the effective parameters to record, defaults included. Those for a baseline are always recorded:
        the agent needs them.
        """
        if self.values or definition.control or definition.baseline:
            return params.public(definition.parameters, effective)
        return {}

    def keeps_output(self, definition: Operation) -> bool:
        """Return whether the journal has the whole output; otherwise it is kept for its requester alone."""
        if definition.control:
            return True
        return self.outputs and not params.hidden(definition.output, dict.fromkeys(definition.output.__struct_fields__))

    def refused(self, definition: Operation, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the same as `sent`, without too large values."""
        shown, hidden = self.sent(definition, parameters)
        return (shown if len(json.encode(shown)) <= self.refused_bytes else {}), hidden

    def shown(self, observed: dict[str, Any]) -> dict[str, Any]:
        """Return the observed state, or a note if it is too large."""
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
