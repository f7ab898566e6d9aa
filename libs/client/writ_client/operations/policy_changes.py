"""Changes of the policy by control operations."""

from collections.abc import Mapping
from typing import Any

from writ_client.operations.runs_operations import RunsOperations
from writ_client.operations.time_left import TimeLeft
from writ_contracts.errors import Invalid
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.requests import OperationView


async def changed(writ: RunsOperations, operation: str, arguments: Mapping[str, Any], timeout: float) -> OperationView:
    """Change the policy, and return the operation with its outcome. `arguments` has the reason, too.

    Raises Invalid with all problems of a document: they are in the reply alone, and are not recorded.
    """
    within = TimeLeft(timeout)
    answer = await writ.submit(operation, WRIT_TARGET, arguments, reason=str(arguments["reason"]), timeout=timeout)
    if answer.outcome == "invalid" and answer.error is not None:
        found = [(one.line, one.column, one.message) for one in answer.error.problems]
        raise Invalid(answer.error.message, code=answer.error.code, problems=found)
    return await writ.wait(answer.operation_id or "", timeout=within)
