"""Tools as data: name, schemas, annotations, and the function run by a call."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

from msgspec import Struct

from writ_contracts.operations import Operation
from writ_gateway.schemas import Arguments, Schema, decode, input_schema
from writ_gateway.session import ToolCall

Profile = Literal["small", "full"]
Result = dict[str, Any]
Given = Mapping[str, Any]
Ours = TypeVar("Ours", bound=Arguments)


class Tool(Struct, frozen=True, kw_only=True):
    """One tool. `run` gets the arguments as the client sent them, and raises Invalid for each wrong one.

    `needs`: list the tool if this holds for any operation permitted to the caller. `small`: the tool is in the small
    profile too. `starts`: its result is an operation, which may go on after the call.
    """

    name: str
    title: str
    description: str
    schema: Schema
    output: Schema
    run: Callable[[ToolCall, Given], Awaitable[Result]]
    read_only: bool
    destructive: bool = False
    idempotent: bool = True
    small: bool = False
    starts: bool = False
    needs: Callable[[Operation], bool] | None = None


def tool(
    name: str,
    title: str,
    description: str,
    arguments: type[Ours],
    run: Callable[[ToolCall, Ours], Awaitable[Result]],
    output: Schema,
    *,
    read_only: bool = True,
    **facts: Any,
) -> Tool:
    """Return a tool whose arguments are a struct, which makes their schema and decodes them for `run`."""

    async def decoded(call: ToolCall, raw: Given) -> Result:
        return {"status": "ok"} | await run(call, decode(arguments, raw))

    return Tool(
        name=name,
        title=title,
        description=description,
        schema=input_schema(arguments),
        output=output,
        run=decoded,
        read_only=read_only,
        **facts,
    )
