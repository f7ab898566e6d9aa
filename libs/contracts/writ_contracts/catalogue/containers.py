"""Operations on containers, and on the guests of a Proxmox node."""

from typing import Annotated, Literal

from msgspec import Meta, field

from writ_contracts.backends import ENGINES, EVERY
from writ_contracts.catalogue.grammar import (
    Argument,
    Capability,
    ContainerName,
    ContainerUser,
    Device,
    Environment,
    Flag,
    Image,
    Labels,
    Mount,
    NetworkName,
    PublishedPort,
)
from writ_contracts.catalogue.host_access import ContainerAccess, StackAccess
from writ_contracts.catalogue.spelling import check_image, check_published
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

RESERVED_LABELS = ("io.writops.", "com.docker.")
"""By these an agent finds what an operation created, and an engine what belongs to a stack."""
RestartPolicy = Literal["no", "always", "unless-stopped", "on-failure"]


class ContainerCreate(ContainerAccess, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container to create. `command`, `env`, `labels` and the health check are secret: people put passwords
    there.
    """

    container_name: Annotated[ContainerName, PUBLIC]
    image: Annotated[Image, PUBLIC]
    command: Annotated[list[Argument], Meta(max_length=256)] = field(default_factory=list)
    env: Environment = field(default_factory=dict)
    ports: Annotated[list[PublishedPort], Meta(max_length=128), PUBLIC] = field(default_factory=list)
    mounts: Annotated[list[Mount], Meta(max_length=64), PUBLIC] = field(default_factory=list)
    network: Annotated[NetworkName | None, PUBLIC] = None
    restart_policy: Annotated[RestartPolicy | None, PUBLIC] = None
    memory: Annotated[Annotated[int, Meta(ge=6, le=16_777_216)] | None, Meta(description="MiB"), PUBLIC] = None
    cpus: Annotated[Annotated[float, Meta(gt=0, le=1024)] | None, Meta(description="processors"), PUBLIC] = None
    user: Annotated[ContainerUser | None, PUBLIC] = None
    read_only: Annotated[Flag, Meta(description="its root file system is read-only")] = False
    init: Annotated[Flag, Meta(description="a first process that passes signals on")] = False
    cap_add: Annotated[list[Capability], Meta(max_length=64), PUBLIC] = field(default_factory=list)
    cap_drop: Annotated[list[Capability], Meta(max_length=64), PUBLIC] = field(default_factory=list)
    devices: Annotated[list[Device], Meta(max_length=32), PUBLIC] = field(default_factory=list)
    privileged: Flag = False
    labels: Labels = field(default_factory=dict)
    health_command: Annotated[list[Argument], Meta(max_length=64, description="run in the container")] = field(
        default_factory=list
    )
    health_interval: Annotated[int, Meta(ge=1, le=3600, description="seconds"), PUBLIC] = 30
    start: Annotated[Flag, Meta(description="start it after its creation")] = True
    timeout: Annotated[Timeout, Meta(le=900)] = 180

    def __post_init__(self) -> None:
        super().__post_init__()
        check_image("image", self.image)
        for port in self.ports:
            check_published("ports", port)
        if any(name.startswith(RESERVED_LABELS) for name in self.labels):
            raise ValueError("labels: io.writops and com.docker are reserved")


class ContainerUpdate(StackAccess, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container, and the image it is made again from. `allow_*`: flags for settings the container has already."""

    container_name: Annotated[ContainerName, PUBLIC]
    image: Annotated[Image, PUBLIC]
    pull: Annotated[Flag, Meta(description="pull the image again")] = False
    recreate: Annotated[Flag, Meta(description="even if it has this image already")] = False
    timeout: Annotated[Timeout, Meta(le=900)] = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        check_image("image", self.image)


class ImagePull(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image to fetch."""

    image: Annotated[Image, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=3600)] = 600

    def __post_init__(self) -> None:
        check_image("image", self.image)


class ContainerDelete(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container; `force` also removes a running one."""

    container_name: Annotated[ContainerName, PUBLIC]
    force: Flag = False
    timeout: Annotated[Timeout, Meta(le=300)] = 60


class ContainerStartStop(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container to start or stop."""

    container_name: Annotated[ContainerName, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=300)] = 60


class ContainerRestart(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container to restart."""

    container_name: Annotated[ContainerName, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=300)] = 90


class ContainerInspect(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container to inspect."""

    container_name: Annotated[ContainerName, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class ContainerState(Output, frozen=True, kw_only=True):
    """The container afterwards. `state` is the engine's word: created, running, exited, …; times are Unix seconds.
    `log` has its last lines where it failed.
    """

    container_name: Annotated[str, PUBLIC] = ""
    container_id: Annotated[str, PUBLIC] = ""
    image: Annotated[str, PUBLIC] = ""
    image_digest: Annotated[str, PUBLIC] = ""
    state: Annotated[str, PUBLIC] = ""
    health: Annotated[str, PUBLIC] = ""
    started_at: Annotated[float | None, PUBLIC] = None
    exit_code: Annotated[int | None, PUBLIC] = None
    log: str = ""


class UpdatedContainer(ContainerState, frozen=True, kw_only=True):
    """The container afterwards, and its image before. `rolled_back`: the former container runs again."""

    former_image: Annotated[str, PUBLIC] = ""
    former_image_digest: Annotated[str, PUBLIC] = ""
    rolled_back: Annotated[bool, PUBLIC] = False


class ImageState(Output, frozen=True, kw_only=True):
    """The image afterwards. `image_digest` is its id on the engine; `changed`: it is another one than before."""

    image: Annotated[str, PUBLIC] = ""
    image_digest: Annotated[str, PUBLIC] = ""
    repo_digests: Annotated[list[str], PUBLIC] = field(default_factory=list)
    size: Annotated[int | None, PUBLIC] = None
    changed: Annotated[bool, PUBLIC] = False


class ContainerDetails(ContainerState, frozen=True, kw_only=True):
    """The container with its settings; `env`, `command` and `labels` are secret."""

    ports: Annotated[list[str], PUBLIC] = field(default_factory=list)
    mounts: Annotated[list[str], PUBLIC] = field(default_factory=list)
    networks: Annotated[list[str], PUBLIC] = field(default_factory=list)
    restart_policy: Annotated[str, PUBLIC] = ""
    created_at: Annotated[float | None, PUBLIC] = None
    env: dict[str, str] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


class ContainerList(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    running: Annotated[Flag, Meta(description="only running containers")] = False
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class ContainerLogs(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which container, and how many of its last lines."""

    container_name: Annotated[ContainerName, PUBLIC]
    lines: Annotated[int, Meta(ge=1, le=1000), PUBLIC] = 100
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class ListedContainer(Output, frozen=True, kw_only=True):
    """One container. `state` is the engine's word, `status` its words for people."""

    container_name: str = ""
    container_id: str = ""
    image: str = ""
    state: str = ""
    status: str = ""
    stack_name: str = ""


class ListedContainers(Output, frozen=True, kw_only=True):
    """All containers of the engine, by name."""

    containers: Annotated[list[ListedContainer], PUBLIC] = field(default_factory=list)


class ContainerLog(Output, frozen=True, kw_only=True):
    """The last lines of both outputs, at most 64 KiB from their end; secret, since programs log their inputs."""

    container_name: Annotated[str, PUBLIC] = ""
    log: str = ""


class DeletedContainer(Output, frozen=True, kw_only=True):
    container_name: Annotated[str, PUBLIC] = ""
    container_id: Annotated[str, PUBLIC] = ""
    removed: Annotated[bool, PUBLIC] = False


OPERATIONS = (
    Operation(
        name="container_create",
        summary="Create a container from an image, and start it.",
        parameters=ContainerCreate,
        output=ContainerState,
        risk=Risk.CHANGE,
        backends=EVERY,
        on_engine=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="container_update",
        summary="Recreate a container from another image. If the new one is not healthy, the former one is restored.",
        parameters=ContainerUpdate,
        output=UpdatedContainer,
        risk=Risk.CHANGE,
        backends=ENGINES,
        on_engine=True,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="image_pull",
        summary="Pull an image from its registry.",
        parameters=ImagePull,
        output=ImageState,
        risk=Risk.CHANGE,
        backends=ENGINES,
        on_engine=True,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="container_delete",
        summary="Remove a container.",
        parameters=ContainerDelete,
        output=DeletedContainer,
        risk=Risk.ADMIN,
        backends=EVERY,
        on_engine=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("container_id", "image_digest"),
    ),
    Operation(
        name="container_start",
        summary="Start a container; nothing happens if it runs.",
        parameters=ContainerStartStop,
        output=ContainerState,
        risk=Risk.CHANGE,
        backends=EVERY,
        on_engine=True,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("container_id", "image_digest"),
    ),
    Operation(
        name="container_stop",
        summary="Stop a container; nothing happens if it does not run.",
        parameters=ContainerStartStop,
        output=ContainerState,
        risk=Risk.CHANGE,
        backends=EVERY,
        on_engine=True,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("container_id", "image_digest"),
    ),
    Operation(
        name="container_restart",
        summary="Stop a container and start it again.",
        parameters=ContainerRestart,
        output=ContainerState,
        risk=Risk.CHANGE,
        backends=EVERY,
        on_engine=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("container_id", "image_digest"),
    ),
    Operation(
        name="container_inspect",
        summary="Show a container and its settings.",
        parameters=ContainerInspect,
        output=ContainerDetails,
        risk=Risk.READ,
        backends=EVERY,
        on_engine=True,
        idempotent=True,
    ),
    Operation(
        name="container_list",
        summary="List the containers of an engine.",
        parameters=ContainerList,
        output=ListedContainers,
        risk=Risk.READ,
        backends=ENGINES,
        on_engine=True,
        idempotent=True,
    ),
    Operation(
        name="container_logs",
        summary="Show the last lines of a container's log.",
        parameters=ContainerLogs,
        output=ContainerLog,
        risk=Risk.READ,
        backends=ENGINES,
        on_engine=True,
        idempotent=True,
    ),
)
