"""The size of an engine's data, by its reply to /system/df. Pure."""

from typing import Any, NamedTuple

import msgspec
from msgspec import Struct


class _ContainerSize(Struct, frozen=True):
    SizeRw: int | None = None


class _SystemDf(Struct, frozen=True):
    LayersSize: int | None = None
    Containers: list[_ContainerSize] | None = None


class DiskUsage(NamedTuple):
    """The size of an engine's data, in bytes."""

    images: int
    containers: int


def disk_usage(answer: Any) -> DiskUsage:
    """Return the sizes in the reply; absent ones are 0. Raises ValidationError."""
    found = msgspec.convert(answer, _SystemDf)
    return DiskUsage(found.LayersSize or 0, sum(one.SizeRw or 0 for one in found.Containers or ()))
