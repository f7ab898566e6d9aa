"""Queries to the policy: simulate, explain, validate, scenarios, versions. They change and record nothing."""

from typing import Annotated, Any

from msgspec import Meta, field

from writ_client.tools.results import explanation_result, forecast, refusal
from writ_contracts.errors import Denied, Invalid
from writ_contracts.ids import OperationName, TargetId
from writ_contracts.inventory import Role
from writ_contracts.policy.questions import MAX_DOCUMENT, Instant
from writ_contracts.policy.versions import MAX_HISTORY
from writ_gateway.client import AgentClient
from writ_gateway.results import EVALUATION, shape
from writ_gateway.schemas import Arguments, Schema
from writ_gateway.session import ToolCall
from writ_gateway.tool import Result, Tool, tool

MOST_TRACE = 20
Who = Annotated[str, Meta(max_length=320)]


class JudgedRequestArguments(Arguments, frozen=True, kw_only=True):
    """A request for a decision alone: the operation is not carried out."""

    operation_type: OperationName
    target_id: TargetId
    parameters: dict[str, Any] = field(default_factory=dict)


class SimulateArguments(JudgedRequestArguments, frozen=True, kw_only=True):
    """A request of one's own, or of somebody else's where the caller may read the policy."""

    requested_by: Who | None = None
    target_role: Role | None = None


class ValidateArguments(Arguments, frozen=True, kw_only=True):
    """Parameters of an operation."""

    operation_type: OperationName
    parameters: dict[str, Any]


class NoArguments(Arguments, frozen=True, kw_only=True):
    """Arguments of a tool without any."""


class PermissionArguments(Arguments, frozen=True, kw_only=True):
    """To which principal, on which targets."""

    target_role: Role | None = None
    user_id: Who | None = None
    target_id: TargetId | None = None


class PolicyDocumentArguments(Arguments, frozen=True, kw_only=True):
    """A policy: YAML or JSON as text, or the object itself."""

    config_data: Annotated[str, Meta(min_length=1, max_length=MAX_DOCUMENT)] | dict[str, Any]


class VersionListArguments(Arguments, frozen=True, kw_only=True):
    """A page of the policy's versions: at most so many, before a version."""

    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY)] = 20
    before: Annotated[int, Meta(ge=1)] | None = None


class ScenarioArguments(Arguments, frozen=True, kw_only=True):
    """One operation by several principals, on several targets, at several instants."""

    operation_type: OperationName
    target_ids: Annotated[list[TargetId], Meta(max_length=100)] = field(default_factory=list)
    target_role: Role | None = None
    user_id: Who | None = None
    requested_by: Annotated[list[Who], Meta(max_length=20)] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    at: Annotated[list[Instant], Meta(max_length=24)] = field(default_factory=list)
    emergency: bool = False


async def simulate(call: ToolCall, arguments: SimulateArguments) -> Result:
    """Return the decision on a request. Raises as `AgentClient.simulate`: one's own is refused as the request is."""
    call.session.writ.check_targets(arguments.target_id)
    found = await call.session.operations.simulate_operation(
        arguments.operation_type,
        arguments.target_id,
        arguments.requested_by,
        arguments.parameters,
        arguments.target_role,
    )
    return _shortened(found)


async def explain(call: ToolCall, arguments: JudgedRequestArguments) -> Result:
    """Return the decision with its rules, facts and demands, and what would become of the request. Raises as
    `AgentClient.check_token`.
    """
    writ, about = call.session.writ, (arguments.operation_type, arguments.target_id, arguments.parameters)
    writ.check_token(arguments.operation_type, arguments.target_id)
    found = explanation_result(await writ.policy.explain(*about))
    try:
        outlook = forecast(await writ.simulate(*about))
    except (Denied, Invalid) as error:
        outlook = refusal(error)
    return _shortened(found | outlook)


def _shortened(result: Result) -> Result:
    """Return the result with the first rules of its trace, and the number of the others."""
    trace = result["trace"]
    omitted = result.get("trace_omitted", 0) + len(trace[MOST_TRACE:])
    return {**result, "trace": trace[:MOST_TRACE], "trace_omitted": omitted}


async def validate(call: ToolCall, arguments: ValidateArguments) -> Result:
    """Validate the parameters by the operation's schema, and return all errors."""
    return await call.session.operations.validate_operation_parameters(arguments.operation_type, arguments.parameters)


async def policy_status(call: ToolCall, arguments: NoArguments) -> Result:
    """Return the state of the policy in force."""
    return await call.session.policy.get_policy_status()


async def allowed(call: ToolCall, arguments: PermissionArguments) -> Result:
    """Return the operations allowed to a role or a principal within the limits of the caller's token."""
    call.session.writ.check_targets(*filter(None, [arguments.target_id]))
    found = await call.session.policy.list_allowed_operations(
        arguments.target_role, arguments.user_id, arguments.target_id
    )
    return _within_limits(call.session.writ, found)


def _within_limits(writ: AgentClient, found: Result) -> Result:
    """Return the result without the operations and targets for which the caller's token is not."""
    rows: list[Result] = []
    for row in found["access"]:
        targets = [target for target in row["targets"] if writ.may_request(row["operation_type"], target)]
        if targets or (not row["targets"] and writ.may_request(row["operation_type"])):
            rows.append({**row, "targets": targets})
    return {
        **found,
        "unavailable": [
            row for row in found["unavailable"] if writ.may_request(row["operation_type"], row["target_id"])
        ],
        "allowed_operations": sorted({row["operation_type"] for row in rows}),
        "needs_approval": sorted({row["operation_type"] for row in rows if row["approval"] == "always"}),
        "access": rows,
    }


async def policy_document(call: ToolCall, arguments: PolicyDocumentArguments) -> Result:
    """Validate a policy document as for its publication."""
    return await call.session.policy.validate_policy_config(arguments.config_data)


async def history(call: ToolCall, arguments: VersionListArguments) -> Result:
    """Return the versions of the policy."""
    return await call.session.policy.get_policy_history(arguments.limit, arguments.before)


async def scenario(call: ToolCall, arguments: ScenarioArguments) -> Result:
    """Return the policy's decision for each combination of the scenario. Raises as `AgentClient.check_targets`."""
    call.session.writ.check_targets(*arguments.target_ids)
    return await call.session.policy.simulate_policy_scenario(
        arguments.operation_type,
        arguments.target_ids,
        arguments.requested_by,
        arguments.parameters,
        arguments.at,
        target_role=arguments.target_role,
        user_id=arguments.user_id,
        emergency=arguments.emergency,
    )


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_OBJECTS: Schema = {"type": "array", "items": {"type": "object"}}
_JUDGED: dict[str, Schema] = {
    "policy_evaluation": EVALUATION,
    "operation_type": _TEXT,
    "target_id": _TEXT,
    "parameters": {"type": "object"},
    "hidden": _TEXTS,
    "trace": _OBJECTS,
    "trace_omitted": {"type": "integer", "description": "Rules that were considered and are not in `trace`."},
    "waiting": _TEXT,
    "would_fail": {
        "description": "The failure with which the request would end although policy allows it: `code`, `message`, "
        "and `found_at` if an agent found the cause on the host in its last test.",
        "anyOf": [{"type": "object"}, {"type": "null"}],
    },
}
_POLICY_STATUS: dict[str, Schema] = {
    "name": _TEXT,
    "mode": _TEXT,
    "rules": {"type": "integer"},
    "problems": {"type": "object"},
    "stops": _OBJECTS,
    "emergencies": _OBJECTS,
    "windows": _OBJECTS,
    "more": {"type": "integer"},
}


TOOLS: tuple[Tool, ...] = (
    tool(
        "simulate_operation",
        "Simulate an operation",
        "What the policy would decide, and why. Nothing is recorded or done.",
        SimulateArguments,
        simulate,
        shape(_JUDGED),
        small=True,
    ),
    tool(
        "explain_decision",
        "Explain a decision",
        "Why the policy would decide so: each rule, the nearest that would allow it, who could approve.",
        JudgedRequestArguments,
        explain,
        shape(
            _JUDGED
            | {
                "nearest": {"anyOf": [{"type": "object"}, {"type": "null"}]},
                "could_approve": _TEXTS,
                "approvals": _OBJECTS,
                "ends_at": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                "in_emergency": {"anyOf": [{"type": "object"}, {"type": "null"}]},
            }
        ),
        small=True,
    ),
    tool(
        "validate_operation_parameters",
        "Validate parameters",
        "Whether parameters fit an operation's schema.",
        ValidateArguments,
        validate,
        shape({"valid": {"type": "boolean"}, "errors": _TEXTS, "parameters": {"type": "object"}, "hidden": _TEXTS}),
    ),
    tool(
        "get_policy_status",
        "Policy status",
        "The policy in force, stops and emergencies, and what is wrong with its files.",
        NoArguments,
        policy_status,
        shape(_POLICY_STATUS),
    ),
    tool(
        "list_allowed_operations",
        "Allowed operations",
        "What is allowed to you, on targets of a role or on one target.",
        PermissionArguments,
        allowed,
        shape(
            {
                "allowed_operations": _TEXTS,
                "needs_approval": _TEXTS,
                "access": _OBJECTS,
                "unavailable": _OBJECTS
                | {"description": "What a host lacked in its last test; it is not in the others."},
            }
        ),
    ),
    tool(
        "validate_policy_config",
        "Validate a policy",
        "Whether a policy document could be published. Publishing is for a person.",
        PolicyDocumentArguments,
        policy_document,
        shape({"valid": {"type": "boolean"}, "errors": _TEXTS, "warnings": _TEXTS}),
    ),
    tool(
        "get_policy_history",
        "Policy history",
        "The versions of the policy, newest first.",
        VersionListArguments,
        history,
        shape({"versions": _OBJECTS, "more": {"type": "boolean"}}),
    ),
    tool(
        "simulate_policy_scenario",
        "Simulate a scenario",
        "What the policy says of one operation for several principals, targets (or those of a role) and instants.",
        ScenarioArguments,
        scenario,
        shape({"results": _OBJECTS, "summary": {"type": "object"}, "more": {"type": "boolean"}}),
    ),
)
