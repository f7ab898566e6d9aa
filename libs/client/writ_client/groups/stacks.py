"""`writ.stacks`: operations on Compose stacks."""

from collections.abc import Mapping
from typing import Unpack

from writ_client.groups.group import OperationGroup, RunOptions, given
from writ_contracts.requests import OperationView


class Stacks(OperationGroup):
    """Each method runs one operation on one target, and returns it when it has ended."""

    async def deploy(
        self,
        target: str,
        stack_name: str,
        *,
        compose: str | None = None,
        source: str | None = None,
        env: Mapping[str, str] | None = None,
        pull: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Bring up a Compose stack."""
        return await self._run(
            "stack_deploy",
            target,
            given(stack_name=stack_name, compose=compose, source=source, env=env, pull=pull, timeout=timeout),
            options,
        )

    async def update(
        self,
        target: str,
        stack_name: str,
        *,
        compose: str | None = None,
        source: str | None = None,
        env: Mapping[str, str] | None = None,
        pull: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Bring a running Compose stack to another text or to newer images."""
        return await self._run(
            "stack_update",
            target,
            given(stack_name=stack_name, compose=compose, source=source, env=env, pull=pull, timeout=timeout),
            options,
        )

    async def remove(
        self,
        target: str,
        stack_name: str,
        *,
        volumes: bool | None = None,
        timeout: int | None = None,
        **options: Unpack[RunOptions],
    ) -> OperationView:
        """Take a Compose stack down."""
        return await self._run(
            "stack_remove", target, given(stack_name=stack_name, volumes=volumes, timeout=timeout), options
        )
