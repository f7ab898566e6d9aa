"""The permitted part of the Compose specification; every other key is refused by its name.

Source: compose-spec/spec.md (05-services, 06-networks, 07-volumes). `parse.py` turns short forms into these long ones,
so our judge and Compose cannot read one text in two ways.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*(?!\n)$"
Name = Annotated[str, Meta(pattern=NAME, max_length=128)]
Text = Annotated[str, Meta(max_length=65_536)]
Texts = Annotated[list[Text], Meta(max_length=512)]
Words = Text | Texts
Mapping = Annotated[dict[Text, Text], Meta(max_length=512)]
Number = int | float | Annotated[str, Meta(pattern=r"^[0-9]+(?:\.[0-9]+)?(?!\n)$", max_length=20)]
_SIZE = r"^[0-9]+(?:\.[0-9]+)? ?(?:[bkmgtBKMGT]|[kmgtKMGT]i?[bB])?(?!\n)$"
Size = int | Annotated[str, Meta(pattern=_SIZE, max_length=20)]
Duration = Annotated[str, Meta(pattern=r"^(?:[0-9]+(?:\.[0-9]+)?(?:us|ms|s|m|h))+(?!\n)$", max_length=40)]
Path = Annotated[str, Meta(pattern=r"^/[^\x00-\x1f\x7f]*(?!\n)$", max_length=4095)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Published = Annotated[str, Meta(pattern=r"^[0-9]{1,5}(?:-[0-9]{1,5})?(?!\n)$")]


class BindOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of a bind mount. A missing folder is an error: the engine would create it as root, through any link."""

    create_host_path: bool = True


class TmpfsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of a tmpfs mount."""

    size: Size | None = None
    mode: int | None = None


class Volume(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mount of a service, in long form."""

    type: Literal["bind", "volume", "tmpfs"]
    source: str | None = None
    target: Path
    read_only: bool = False
    bind: BindOptions | None = None
    tmpfs: TmpfsOptions | None = None


class PublishedPort(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One port, or a range of them with a range of the same size."""

    target: Port
    published: Published | None = None
    host_ip: Annotated[str, Meta(max_length=45)] | None = None
    protocol: Literal["tcp", "udp"] = "tcp"


class Dependency(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A dependency on another service."""

    condition: Literal["service_started", "service_healthy", "service_completed_successfully"] = "service_started"
    restart: bool = False
    required: bool = True


class HealthCheck(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The health check of a container."""

    test: Words | None = None
    interval: Duration | None = None
    timeout: Duration | None = None
    start_period: Duration | None = None
    start_interval: Duration | None = None
    retries: Annotated[int, Meta(ge=1, le=1000)] | None = None
    disable: bool = False


class Logging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Logging drivers with logs on the host; the others send them elsewhere."""

    driver: Literal["json-file", "local", "journald", "none"] = "json-file"
    options: Mapping = {}


class Attachment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """To a network of the stack."""

    aliases: Texts = []
    ipv4_address: Text | None = None
    ipv6_address: Text | None = None
    priority: int | None = None


class ContainerLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Limits of one container."""

    cpus: Number | None = None
    memory: Size | None = None
    pids: int | None = None


class Resources(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Devices may not be reserved here."""

    limits: ContainerLimits | None = None
    reservations: ContainerLimits | None = None


class RestartRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a container is started again."""

    condition: Literal["none", "on-failure", "any"] = "any"
    delay: Duration | None = None
    max_attempts: int | None = None
    window: Duration | None = None


class Deploy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The part of `deploy` with an effect outside a swarm."""

    replicas: Annotated[int, Meta(ge=0, le=100)] | None = None
    resources: Resources | None = None
    restart_policy: RestartRule | None = None


class UlimitPair(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A soft and a hard limit."""

    soft: int
    hard: int


class ComposeService(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One service. Mutable defaults are never changed: all of it is frozen."""

    image: Annotated[str, Meta(min_length=1, max_length=512)]
    command: Words | None = None
    entrypoint: Words | None = None
    environment: Mapping = {}
    labels: Mapping = {}
    ports: Annotated[list[PublishedPort], Meta(max_length=256)] = []
    expose: Texts = []
    volumes: Annotated[list[Volume], Meta(max_length=128)] = []
    tmpfs: Words | None = None
    networks: dict[Name, Attachment | None] = {}
    network_mode: Text | None = None
    depends_on: dict[Name, Dependency] = {}
    restart: Annotated[str, Meta(pattern=r"^(?:no|always|unless-stopped|on-failure(?::[0-9]{1,4})?)(?!\n)$")] | None = (
        None
    )
    healthcheck: HealthCheck | None = None
    logging: Logging | None = None
    deploy: Deploy | None = None
    scale: Annotated[int, Meta(ge=0, le=100)] | None = None
    container_name: Name | None = None
    hostname: Text | None = None
    domainname: Text | None = None
    user: Text | None = None
    group_add: list[str | int] = []
    working_dir: Text | None = None
    init: bool | None = None
    read_only: bool | None = None
    tty: bool | None = None
    stdin_open: bool | None = None
    stop_signal: Text | None = None
    stop_grace_period: Duration | None = None
    platform: Text | None = None
    pull_policy: Literal["always", "missing", "never", "if_not_present"] | None = None
    mem_limit: Size | None = None
    mem_reservation: Size | None = None
    memswap_limit: Size | None = None
    shm_size: Size | None = None
    cpus: Number | None = None
    cpu_shares: int | None = None
    cpuset: Text | None = None
    pids_limit: int | None = None
    ulimits: dict[Name, int | UlimitPair] = {}
    dns: Words | None = None
    dns_search: Words | None = None
    dns_opt: Texts = []
    extra_hosts: Texts = []
    privileged: bool = False
    cap_add: Texts = []
    cap_drop: Texts = []
    devices: Texts = []
    security_opt: Texts = []
    sysctls: Mapping = {}
    pid: Text | None = None
    ipc: Text | None = None
    uts: Text | None = None
    userns_mode: Text | None = None
    cgroup: Text | None = None
    volumes_from: Texts = []
    external_links: Texts = []


class ComposeNetwork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A network of the stack, or an external one."""

    driver: Literal["bridge"] | None = None
    name: Name | None = None
    external: bool = False
    internal: bool = False
    attachable: bool = False
    enable_ipv6: bool = False
    labels: Mapping = {}


class NamedVolume(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A volume of the stack, or an external one. Driver options would name folders and devices of the host."""

    driver: Literal["local"] | None = None
    name: Name | None = None
    external: bool = False
    labels: Mapping = {}


class Stack(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole Compose file."""

    services: Annotated[dict[Name, ComposeService], Meta(min_length=1, max_length=100)]
    networks: dict[Name, ComposeNetwork] = {}
    volumes: dict[Name, NamedVolume] = {}
