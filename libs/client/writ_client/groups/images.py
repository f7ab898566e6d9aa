"""`writ.images`: operations on images of Docker engines. Made from the catalogue by `make docs`."""

from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Images(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def pull(
        self, target: str, image: str, *, timeout: int | None = None, **options: Unpack[RunOptions]
    ) -> OperationView:
        """Pull an image from its registry."""
        return await self._run("image_pull", target, without_none(image=image, timeout=timeout), options)
