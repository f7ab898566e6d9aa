"""Labels of an output as it is on record: a keyed digest there has the field's name of the plain one."""

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.parameters import keyed_names

_OUTPUTS = {operation.name: operation.output for operation in BUILT_IN}


def recorded_label(operation: str, field: str) -> str:
    """Return the label of a field of the recorded output: it tells a keyed digest from the requester's plain one."""
    output = _OUTPUTS.get(operation)
    return f"{field} (keyed)" if output is not None and field in keyed_names(output) else field
