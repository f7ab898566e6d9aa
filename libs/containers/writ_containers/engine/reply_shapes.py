"""The fields of an engine's replies that are read, with their types. A field may be absent, and others may be there.

Go writes an empty list or map as null.
"""

from typing import Any, Required, TypedDict

import msgspec

from writ_containers.engine.engine_errors import UnusableEngineReply

Texts = list[str] | None
Labels = dict[str, str] | None
Objects = list[dict[str, Any]] | None
Settings = dict[str, Any] | None


class HealthShape(TypedDict, total=False):
    Status: str


class StateShape(TypedDict, total=False):
    Status: str
    Running: bool
    Restarting: bool
    StartedAt: str
    ExitCode: int
    Health: HealthShape | None


class ConfigShape(TypedDict, total=False):
    Image: str
    Labels: Labels
    Tty: bool
    Env: Texts
    Cmd: Texts
    Hostname: str
    StopTimeout: int | None


class HostConfigShape(TypedDict, total=False):
    NetworkMode: str
    AutoRemove: bool
    RestartPolicy: Settings
    Binds: Texts
    Mounts: Objects
    PortBindings: dict[str, Objects] | None
    SecurityOpt: Texts
    CapAdd: Texts
    Sysctls: Settings
    Devices: Objects
    DeviceRequests: Objects
    DeviceCgroupRules: Texts
    VolumesFrom: Texts
    MaskedPaths: Texts
    ReadonlyPaths: Texts


class MountShape(TypedDict, total=False):
    Type: str
    Name: str
    Source: str
    Destination: str
    RW: bool


class NetworkSettingsShape(TypedDict, total=False):
    Networks: dict[str, Settings] | None


class ContainerShape(TypedDict, total=False):
    """GET /containers/{id}/json."""

    Id: str
    Name: str
    Image: str
    Created: str
    State: StateShape
    Config: ConfigShape
    HostConfig: HostConfigShape
    Mounts: list[MountShape] | None
    NetworkSettings: NetworkSettingsShape | None


class ListedContainerShape(TypedDict, total=False):
    """An entry of GET /containers/json."""

    Id: Required[str]
    Names: Texts
    Image: str
    State: str
    Status: str
    Labels: Labels


class ImageShape(TypedDict, total=False):
    """GET /images/{name}/json, and an entry of GET /images/json."""

    Id: str
    Labels: Labels
    Config: Settings
    RepoTags: Texts
    RepoDigests: Texts


class NetworkShape(TypedDict, total=False):
    """An entry of GET /networks."""

    Id: Required[str]
    Name: str


class VolumesShape(TypedDict, total=False):
    """GET /volumes."""

    Volumes: Objects


class InfoShape(TypedDict, total=False):
    """GET /info."""

    SecurityOptions: Texts
    Swarm: Settings


class VersionShape(TypedDict, total=False):
    """GET /version."""

    Components: Objects


class TaskTemplateShape(TypedDict, total=False):
    ContainerSpec: Required[dict[str, Any]]
    RestartPolicy: Settings


class ServiceSpecShape(TypedDict, total=False):
    Name: Required[str]
    Labels: Labels
    Mode: Settings
    TaskTemplate: Required[TaskTemplateShape]


class ServiceShape(TypedDict, total=False):
    """An entry of GET /services."""

    ID: Required[str]
    Spec: Required[ServiceSpecShape]
    Version: Settings
    UpdateStatus: Settings


class TaskStatusShape(TypedDict, total=False):
    State: str
    ContainerStatus: Settings


class SwarmTaskShape(TypedDict, total=False):
    """An entry of GET /tasks."""

    ServiceID: str
    DesiredState: str
    Status: Required[TaskStatusShape]
    Spec: Required[dict[str, Any]]


def check_shape(reply: object, shape: Any) -> None:
    """Raise UnusableEngineReply for a reply with values of other types."""
    try:
        msgspec.convert(reply, shape)
    except msgspec.ValidationError as error:
        raise UnusableEngineReply(str(error)) from error
