"""The check of container settings before an engine gets them: access to the host, and bounds. All operations creating
containers use it, in their previews too.
"""

from collections.abc import Sequence

from msgspec import structs

from writ_containers.checks.breakouts import ContainerSettings, HostPaths, refuse_breakouts
from writ_containers.checks.container_bounds import refuse_out_of_bounds
from writ_containers.checks.image_names import may_be_id
from writ_contracts.catalogue.host_access import ContainerAccess
from writ_contracts.errors import Invalid


def check_settings(judged: Sequence[ContainerSettings], access: ContainerAccess, host: HostPaths) -> None:
    """Raise Invalid (`breakout_refused`, `bounds_refused`, `image_id_refused`)."""
    parameters = structs.asdict(access)
    _refuse_image_ids(judged)
    refuse_breakouts(judged, parameters, host)
    refuse_out_of_bounds(judged, parameters)


def _refuse_image_ids(judged: Sequence[ContainerSettings]) -> None:
    """Raise Invalid for an image that may be named by its id: a rule that denies the name of the image does not match
    it. A name such as `cafe`, without a tag, may be the beginning of an id as well.
    """
    for one in judged:
        if one.image and may_be_id(one.image):
            raise Invalid(
                f"{one.name}: {one.image} may be the id of an image: write the image's name with a tag or a digest",
                code="image_id_refused",
            )
