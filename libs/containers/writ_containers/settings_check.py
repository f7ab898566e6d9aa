"""The check of settings before an engine gets them: what breaks out of a container, and what is outside a bound. Each
operation that creates containers uses it, in its preview too.
"""

from collections.abc import Sequence

from msgspec import structs

from writ_containers.breakouts import ContainerSettings, refuse_breakouts
from writ_containers.container_bounds import refuse_out_of_bounds
from writ_contracts.catalogue.host_access import ContainerAccess
from writ_contracts.inventory import Target


def check_settings(judged: Sequence[ContainerSettings], given: ContainerAccess, target: Target, socket: str) -> None:
    """Raises Invalid (`breakout_refused`, `bounds_refused`). `socket`: that of the target's own engine."""
    parameters = structs.asdict(given)
    refuse_breakouts(judged, parameters, target.mount_roots, socket)
    refuse_out_of_bounds(judged, parameters)
