"""The check of container settings before an engine gets them: access to the host, and bounds. All operations creating
containers use it, in their previews too.
"""

from collections.abc import Sequence

from msgspec import structs

from writ_containers.checks.breakouts import ContainerSettings, refuse_breakouts
from writ_containers.checks.container_bounds import refuse_out_of_bounds
from writ_contracts.catalogue.host_access import ContainerAccess
from writ_contracts.inventory import Target


def check_settings(judged: Sequence[ContainerSettings], access: ContainerAccess, target: Target, socket: str) -> None:
    """Raise Invalid (`breakout_refused`, `bounds_refused`). `socket`: the socket of the target's own engine."""
    parameters = structs.asdict(access)
    refuse_breakouts(judged, parameters, target.mount_roots, socket)
    refuse_out_of_bounds(judged, parameters)
