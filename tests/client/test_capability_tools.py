"""Names that an operation's parameters share with the options of a request, in `CapabilityTools`."""

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_client.client import Writ
from writ_client.tools.capability_tools import _OPTIONS, CapabilityTools
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.operations import OPTIONS
from writ_gateway.tools.request_tools import OperationOptions

SHARED = {
    one.name: sorted(OPTIONS.intersection(one.parameters.__struct_encode_fields__))
    for one in BUILT_IN
    if OPTIONS.intersection(one.parameters.__struct_encode_fields__)
}


def test_options_of_all_tools_are_reserved() -> None:
    assert {"target_id", "operation_type", "parameters", *_OPTIONS, *OperationOptions.__struct_fields__} == OPTIONS


def test_no_operation_on_targets_has_a_parameter_with_the_name_of_an_option() -> None:
    assert {one.name for one in BUILT_IN if one.control} >= set(SHARED)
    assert {name for names in SHARED.values() for name in names} <= {"reason", "correlation_id"}


@pytest.mark.parametrize(("operation", "shared"), SHARED.items())
async def test_shared_name_is_given_to_the_operation_and_to_its_request(
    writ: Writ, executor: ScriptedApi, operation: str, shared: list[str]
) -> None:
    execute = getattr(CapabilityTools(writ), f"execute_{operation}")
    values = {name: f"{name}-of-it" for name in shared}
    await execute(target_id="writ", **values)
    ((name, request),) = executor.requests
    assert (name, request.parameters) == (operation, values)
    assert {key: getattr(request, key) for key in shared} == values
