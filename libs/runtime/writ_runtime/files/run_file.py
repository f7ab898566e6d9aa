"""The run file of a service process."""

from msgspec import Struct


class RunFile(Struct, frozen=True, kw_only=True):
    """The file left by a started service for its supervisor."""

    pid: int
    health_port: int
    name: str
