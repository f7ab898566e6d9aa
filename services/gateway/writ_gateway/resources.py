"""Resources of MCP: documents for a client to attach without a tool call. Each is the result of a read-only tool."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_gateway.results import bounded
from writ_gateway.session import ToolCall
from writ_gateway.tool import Result
from writ_gateway.tools import discovery_tools, operation_tools, policy_tools


class Resource(Struct, frozen=True, kw_only=True):
    """One address, or a family of them with a name in braces, and the tool whose result it is."""

    name: str
    description: str
    tool: str


POLICY = "writ://policy"
RESOURCES: Mapping[str, Resource] = MappingProxyType(
    {
        "writ://operations": Resource(
            name="operations", description="The operations that you may request.", tool="search_operations"
        ),
        "writ://operations/{operation_type}": Resource(
            name="operation", description="One operation with its schemas.", tool="describe_operation"
        ),
        "writ://targets": Resource(name="targets", description="The first targets.", tool="list_targets"),
        POLICY: Resource(name="policy", description="The policy in force, for those who may read it.", tool=""),
        "writ://trace/{operation_id}": Resource(
            name="trace", description="Everything on record about one of your operations.", tool="get_trace"
        ),
    }
)
_TOOLS = {tool.name: tool for tool in (*discovery_tools.TOOLS, *operation_tools.TOOLS, *policy_tools.TOOLS)}
_NAME = re.compile(r"\{(\w+)\}")


async def read(call: ToolCall, uri: str) -> Result:
    """Return the resource at an address. Raises Invalid (`not_found`), and the errors of its tool."""
    for address, resource in RESOURCES.items():
        if address == POLICY == uri:
            shown = await call.session.writ.policy_show()
            number = shown.version.number if shown.version else 0
            return bounded({"status": "ok", "version": number, "document": shown.document})
        if resource.tool and (found := _pattern(address).fullmatch(uri)) is not None:
            return bounded(await _TOOLS[resource.tool].run(call, found.groupdict()))
    raise Invalid(f"there is no resource {uri[:200]!r}", code="not_found")


def _pattern(address: str) -> re.Pattern[str]:
    """Return a pattern for the addresses of a family; `.` and the like do not occur in ours."""
    return re.compile(_NAME.sub(r"(?P<\1>[A-Za-z0-9_-]{1,64})", address))
