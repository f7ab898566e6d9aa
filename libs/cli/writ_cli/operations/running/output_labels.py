"""Labels of an output as it is on record: a keyed digest there has the field's name of the plain one."""

from functools import cache

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import ConfigError
from writ_contracts.operations import Catalogue
from writ_contracts.parameters import keyed_names
from writ_runtime.plugins.entry_points import load_catalogue


def recorded_label(operation: str, field: str) -> str:
    """Return the label of a field of the recorded output: it tells a keyed digest from the requester's plain one."""
    known = catalogue().get(operation)
    return f"{field} (keyed)" if known is not None and field in keyed_names(known.output) else field


@cache
def catalogue() -> Catalogue:
    """Return the operations by which outputs are labelled."""
    try:
        return load_catalogue()
    except ConfigError:  # a broken plugin costs its labels; the record is shown all the same
        return Catalogue(BUILT_IN)
