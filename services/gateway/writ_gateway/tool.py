"""Tools as data: a name, schemas, annotations, and the function that a call runs."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar

from msgspec import Struct

from writ_contracts.operations import Operation
from writ_gateway.schemas import Arguments, Schema, decode, input_schema
from writ_gateway.session import Call

Profile = Literal["small", "full"]
Result = dict[str, Any]
Given = Mapping[str, Any]
Ours = TypeVar("Ours", bound=Arguments)


class Tool(Struct, frozen=True, kw_only=True):
    """`run` gets the arguments as they came, and raises Invalid for what is wrong with them.

    `needs`: the tool is listed where the caller may request an operation for which this holds. `small`: it belongs to
    the small profile, too. `starts`: its result is an operation, which may go on after it.
    """

    name: str
    title: str
    description: str
    schema: Schema
    output: Schema
    run: Callable[[Call, Given], Awaitable[Result]]
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
    run: Callable[[Call, Ours], Awaitable[Result]],
    output: Schema,
    *,
    read_only: bool = True,
    **facts: Any,
) -> Tool:
    """A tool whose arguments are a struct, which makes their schema and decodes them for `run`."""

    async def decoded(call: Call, given: Given) -> Result:
        return {"status": "ok"} | await run(call, decode(arguments, given))

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
