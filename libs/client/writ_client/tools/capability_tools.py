"""`CapabilityTools`: request, simulate and validate operations: names of the specification (docs/python.md).

    tools = CapabilityTools(writ)
    result = await tools.execute_service_restart(service_name="nginx", target_id="web-1", requested_by="alice")

There is an `execute_<operation>` for every operation of the catalogue, and `execute_container_operation` and the like
for the KINDS.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict, Unpack

from msgspec import structs

from writ_client.client import Writ
from writ_client.groups.group import without_none
from writ_client.operations.operation_wait import OnEvent
from writ_client.tools import results
from writ_client.tools.requesters import check_requester, principal_of
from writ_client.tools.results import Result
from writ_client.whole_ids import operation_of, with_whole_ids
from writ_contracts import errors, parameters
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.operations import Catalogue, Operation

WAIT_SECONDS = 300.0


class RequestOptions(TypedDict, total=False):
    """Options of every `execute_…`. `wait`: seconds to wait for the outcome before the handle is returned."""

    requested_by: str | None
    reason: str
    dry_run: bool
    idempotency_key: str | None
    correlation_id: str | None
    wait: float
    on_event: OnEvent


Execute = Callable[..., Awaitable[Result]]
"""An `execute_…`. By name it takes `target_id`, the operation's own parameters, and the options; that of a kind also
`operation_type`, and `parameters` in place of or beside single ones.
"""


class CapabilityTools:
    """Operations of one connected principal. Raises the errors of `writ_contracts.errors`."""

    def __init__(
        self, writ: Writ, catalogue: Catalogue | None = None, *, mail_addresses: Mapping[str, str] | None = None
    ) -> None:
        """`catalogue`: with the operations of plugins, where there are any. `mail_addresses`: principals by address."""
        self._writ = writ
        self._catalogue = catalogue or Catalogue(BUILT_IN)
        self._addresses = mail_addresses or {}

    async def execute(
        self,
        operation_type: str,
        target_id: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        requested_by: str | None = None,
        wait: float = WAIT_SECONDS,
        **options: Any,
    ) -> Result:
        """Request an operation and wait for its outcome. A denial is a result as well. A request waiting for approval
        is returned at once, with status `awaiting_approval`.
        """
        check_requester(requested_by, self._writ.principal, self._addresses)
        requested = await self._writ.request(
            operation_type,
            target_id,
            await with_whole_ids(
                self._writ, self._catalogue.get(operation_type), parameters or {}, options.get("idempotency_key")
            ),
            wait=wait,
            **options,
        )
        if requested.view is not None:
            requested = structs.replace(requested, view=await self._writ.with_output(requested.view))
        return results.request_result(requested, operation_type, target_id)

    async def execute_service_restart(
        self, service_name: str, target_id: str, *, timeout: int | None = None, **options: Unpack[RequestOptions]
    ) -> Result:
        """Restart a service; `timeout` limits the restart on the target, in seconds."""
        parameters = without_none(service_name=service_name, timeout=timeout)
        return await self.execute("service_restart", target_id, parameters, **options)

    def __getattr__(self, name: str) -> Execute:
        """The `execute_<operation>` of an operation of the catalogue, or the `execute_<kind>_operation` of a kind."""
        kind = name.removeprefix("execute_").removesuffix("_operation")
        if kind in KINDS and name == f"execute_{kind}_operation":
            return self._execute_of_kind(kind)
        operation = self._catalogue.get(name.removeprefix("execute_"))
        if operation is None or not name.startswith("execute_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self._execute_of(operation)

    def __dir__(self) -> list[str]:
        names = (*self._catalogue, *(f"{kind}_operation" for kind in KINDS))
        return [*super().__dir__(), *(f"execute_{name}" for name in names)]

    def _execute_of(self, operation: Operation) -> Execute:
        async def execute(*, target_id: str, **arguments: Any) -> Result:
            parameters, options = _divided(operation, arguments)
            return await self.execute(operation.name, target_id, parameters, **options)

        return execute

    def _execute_of_kind(self, kind: str) -> Execute:
        async def execute(
            *, operation_type: str, target_id: str, parameters: Mapping[str, Any] | None = None, **arguments: Any
        ) -> Result:
            name = name_of_kind(self._catalogue, kind, operation_type)
            beside, options = _divided(self._catalogue[name], arguments)
            return await self.execute(name, target_id, together(parameters or {}, beside), **options)

        return execute

    async def simulate_operation(
        self,
        operation_type: str,
        target_id: str,
        requested_by: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        target_role: str | None = None,
        *,
        dry_run: bool = False,
    ) -> Result:
        """Return the decision a request would get, with its reason; nothing is recorded or done. Somebody else's
        requests need `audit_read`.

        Raises Invalid where the target has another role than `target_role`: roles come from the inventory alone.
        """
        await self._check_role(target_id, target_role)
        principal = principal_of(requested_by or self._writ.principal, self._addresses)
        parameters = await with_whole_ids(self._writ, self._catalogue.get(operation_type), parameters or {})
        if principal != self._writ.principal:
            found = await self._writ.policy.explain(
                operation_type, target_id, parameters, principal=principal, dry_run=dry_run
            )
            return results.explanation_result(found)
        answer = await self._writ.simulate(operation_type, target_id, parameters, dry_run=dry_run)
        return results.simulation_result(answer, operation_type, target_id)

    async def _check_role(self, target_id: str, role: str | None) -> None:
        if role is None:
            return
        known = {target.id: target.role for target in await self._writ.targets()}
        if known.get(target_id, role) != role:
            raise errors.Invalid(f"target_role: {target_id} has the role {known[target_id]}, not {role}")

    async def validate_operation_parameters(self, operation_type: str, parameters: Mapping[str, Any]) -> Result:
        """Check parameters against the operation's schema: `valid`, `errors`, and the effective `parameters`."""
        return validated(self._catalogue, operation_type, parameters)

    async def get_operation_status(self, operation_id: str) -> Result:
        """Return an operation, by its id or a unique beginning, in its present state, with its output while kept."""
        whole = await operation_of(self._writ, operation_id)
        return results.operation_result(await self._writ.with_output(await self._writ.get(whole)))

    async def wait_for_operation(
        self, operation_id: str, *, wait: float = WAIT_SECONDS, on_event: OnEvent = lambda _: None
    ) -> Result:
        """Return the operation once it has an outcome, or its state after `wait` seconds."""
        whole = await operation_of(self._writ, operation_id)
        try:
            view = await self._writ.wait(whole, timeout=wait, on_event=on_event)
        except errors.TimedOut:
            view = await self._writ.get(whole)
        return results.operation_result(await self._writ.with_output(view))

    async def cancel_operation(self, operation_id: str, reason: str = "", *, timeout: float = 60.0) -> Result:
        """Cancel an operation of one's own; `output.result` is `stopped` or `not_confirmed`."""
        whole = await operation_of(self._writ, operation_id)
        return results.operation_result(await self._writ.cancel(whole, reason=reason, timeout=timeout))


def _divided(operation: Operation, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and options. The few names that are both, such as the reason of a stop, go to both: the record
    of such a request has it in both places. Operations of plugins have no such parameter.
    """
    names = operation.parameters.__struct_encode_fields__
    parameters = {key: value for key, value in arguments.items() if key not in _OPTIONS or key in names}
    return parameters, {key: value for key, value in arguments.items() if key in _OPTIONS}


_OPTIONS = tuple(RequestOptions.__annotations__)
KINDS: Mapping[str, str] = MappingProxyType(
    {"container": "container_name", "stack": "stack_name", "backup": "backup_id"}
)
"""Kinds of operations that have an `execute_<kind>_operation`, and the parameter that names one of the kind."""


def name_of_kind(catalogue: Catalogue, kind: str, operation_type: str) -> str:
    """Return the name of an operation of the kind: `restart` or `container_restart`. Raises Invalid."""
    name = f"{kind}_{operation_type.removeprefix(f'{kind}_')}"
    if name in catalogue:
        return name
    there = ", ".join(one for one in catalogue if one.startswith(f"{kind}_"))
    raise errors.Invalid(
        f"operation_type: there is no {kind} operation {operation_type[:64]!r}; there are {there}",
        code="unknown_operation",
    )


def together(parameters: Mapping[str, Any], beside: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters of an operation. Raises Invalid for one that is given twice."""
    if twice := sorted(set(parameters) & set(beside)):
        raise errors.Invalid(f"parameters: {', '.join(twice)} is given twice", code="invalid_parameters")
    return {**beside, **parameters}


def validated(catalogue: Catalogue, operation_type: str, values: Mapping[str, Any]) -> Result:
    """Check parameters by the catalogue alone. Sensitive and secret values are named in `hidden`, and not repeated."""
    try:
        operation = catalogue.find(operation_type)
        found = parameters.problems(operation.parameters, values)
        effective = {} if found else operation.check(values)
    except errors.Invalid as error:
        return {"valid": False, "errors": [str(error)], "operation_type": operation_type, "code": error.code}
    if found:
        return {"valid": False, "errors": found, "operation_type": operation_type, "code": "invalid_parameters"}
    return {
        "valid": True,
        "errors": [],
        "operation_type": operation_type,
        "parameters": parameters.public(operation.parameters, effective),
        "hidden": parameters.hidden(operation.parameters, effective),
    }
