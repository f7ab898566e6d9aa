"""`writ.files`: operations on files. Made from the catalogue by `make docs`."""

from typing import Literal, Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Files(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def read(
        self,
        target: str,
        file_path: str,
        *,
        encoding: Literal["base64", "utf-8"] | None = None,
        offset: int | None = None,
        max_bytes: int | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Read a file, or a part of it."""
        return await self._run(
            "file_read",
            target,
            without_none(file_path=file_path, encoding=encoding, offset=offset, max_bytes=max_bytes, timeout=timeout),
            options,
        )

    async def write(
        self,
        target: str,
        file_path: str,
        content: str,
        *,
        encoding: Literal["base64", "utf-8"] | None = None,
        mode: str | None = None,
        if_digest: str | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Write a file whole, atomically."""
        return await self._run(
            "file_write",
            target,
            without_none(
                file_path=file_path, content=content, encoding=encoding, mode=mode, if_digest=if_digest, timeout=timeout
            ),
            options,
        )

    async def copy(
        self,
        target: str,
        source_path: str,
        dest_path: str,
        *,
        overwrite: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Copy a file on the same target."""
        return await self._run(
            "file_copy",
            target,
            without_none(source_path=source_path, dest_path=dest_path, overwrite=overwrite, timeout=timeout),
            options,
        )

    async def delete(
        self,
        target: str,
        file_path: str,
        *,
        if_digest: str | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Delete a file."""
        return await self._run(
            "file_delete", target, without_none(file_path=file_path, if_digest=if_digest, timeout=timeout), options
        )
