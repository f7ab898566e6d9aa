"""`writ.packages`: operations on system packages. Made from the catalogue by `make docs`."""

from collections.abc import Sequence
from typing import Literal, Unpack

from writ_client.groups.group import OperationGroup, RunOptions, without_none
from writ_contracts.requests import OperationView


class Packages(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def list(
        self,
        target: str,
        *,
        pattern: str | None = None,
        upgradable: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """List installed packages."""
        return await self._run(
            "package_list", target, without_none(pattern=pattern, upgradable=upgradable, timeout=timeout), options
        )

    async def update(
        self,
        target: str,
        *,
        package_name: str | None = None,
        version: str | None = None,
        index: Literal["fetch", "keep", "only"] | None = None,
        only_packages: Sequence[str] | None = None,
        keep_packages: Sequence[str] | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Upgrade a package, or all of them."""
        return await self._run(
            "package_update",
            target,
            without_none(
                package_name=package_name,
                version=version,
                index=index,
                only_packages=only_packages,
                keep_packages=keep_packages,
                timeout=timeout,
            ),
            options,
        )

    async def install(
        self,
        target: str,
        package_name: str,
        *,
        version: str | None = None,
        only_packages: Sequence[str] | None = None,
        keep_packages: Sequence[str] | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Install a package."""
        return await self._run(
            "package_install",
            target,
            without_none(
                package_name=package_name,
                version=version,
                only_packages=only_packages,
                keep_packages=keep_packages,
                timeout=timeout,
            ),
            options,
        )

    async def remove(
        self,
        target: str,
        package_name: str,
        *,
        purge: bool | None = None,
        only_packages: Sequence[str] | None = None,
        keep_packages: Sequence[str] | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Remove a package."""
        return await self._run(
            "package_remove",
            target,
            without_none(
                package_name=package_name,
                purge=purge,
                only_packages=only_packages,
                keep_packages=keep_packages,
                timeout=timeout,
            ),
            options,
        )
