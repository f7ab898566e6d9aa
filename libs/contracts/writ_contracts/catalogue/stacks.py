"""Operations on Compose stacks."""

from typing import Annotated

from msgspec import Meta, field

from writ_contracts.backends import ENGINES
from writ_contracts.catalogue.grammar import Environment, FileName, Flag, StackName, check_bytes, check_exactly_one
from writ_contracts.catalogue.host_access import StackAccess
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

MAX_COMPOSE_BYTES = 256 * 1024


class StackApply(StackAccess, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stack from a Compose text, or from a file of the target's stack folder. Text and `env` are secret."""

    stack_name: Annotated[StackName, PUBLIC]
    compose: Annotated[str, Meta(min_length=1, max_length=MAX_COMPOSE_BYTES)] | None = None
    source: Annotated[FileName | None, PUBLIC] = None
    env: Environment = field(default_factory=dict)
    pull: Annotated[Flag, Meta(description="pull the images again")] = False
    timeout: Annotated[Timeout, Meta(le=1800)] = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        check_exactly_one(compose=self.compose, source=self.source)
        check_bytes("compose", self.compose or "", MAX_COMPOSE_BYTES)


class StackRemove(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stack; `volumes` also deletes its data."""

    stack_name: Annotated[StackName, PUBLIC]
    volumes: Annotated[Flag, Meta(description="delete its volumes too")] = False
    timeout: Annotated[Timeout, Meta(le=900)] = 180


class StackQuery(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    stack_name: Annotated[StackName, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class StackStatus(Output, frozen=True, kw_only=True):
    """The state of each service of a stack, and its images."""

    stack_name: Annotated[str, PUBLIC] = ""
    services: Annotated[dict[str, str], PUBLIC] = field(default_factory=dict)
    images: Annotated[dict[str, list[str]], PUBLIC] = field(default_factory=dict)
    containers: Annotated[int, PUBLIC] = 0


class StackState(Output, frozen=True, kw_only=True):
    """The stack afterwards: state of each service, and the digest of its Compose text."""

    stack_name: Annotated[str, PUBLIC] = ""
    compose_digest: Annotated[str, PUBLIC] = ""
    services: Annotated[dict[str, str], PUBLIC] = field(default_factory=dict)
    log: str = ""


class DeletedStack(Output, frozen=True, kw_only=True):
    """The removed stack. `kept_volumes`: volumes of the removed containers which are kept, such as anonymous ones."""

    stack_name: Annotated[str, PUBLIC] = ""
    removed: Annotated[bool, PUBLIC] = False
    volumes: Annotated[list[str], PUBLIC] = field(default_factory=list)
    kept_volumes: Annotated[list[str], PUBLIC] = field(default_factory=list)
    log: str = ""


OPERATIONS = (
    Operation(
        name="stack_deploy",
        summary="Deploy a Compose stack.",
        parameters=StackApply,
        output=StackState,
        risk=Risk.CHANGE,
        backends=ENGINES,
        on_engine=True,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("containers", "parts", "source_version"),
    ),
    Operation(
        name="stack_update",
        summary="Update a running Compose stack to another Compose file or to newer images.",
        parameters=StackApply,
        output=StackState,
        risk=Risk.CHANGE,
        backends=ENGINES,
        on_engine=True,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("containers", "parts", "source_version"),
    ),
    Operation(
        name="stack_remove",
        summary="Remove a Compose stack.",
        parameters=StackRemove,
        output=DeletedStack,
        risk=Risk.ADMIN,
        backends=ENGINES,
        on_engine=True,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("containers", "parts"),
    ),
    Operation(
        name="stack_status",
        summary="Show the services of a Compose stack.",
        parameters=StackQuery,
        output=StackStatus,
        risk=Risk.READ,
        backends=ENGINES,
        on_engine=True,
        idempotent=True,
    ),
)
