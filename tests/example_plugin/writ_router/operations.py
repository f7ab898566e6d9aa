"""The operations of this plugin. A field without a class is secret."""

from typing import Annotated

from msgspec import Meta, field

from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

BACKENDS = ("router",)
Mac = Annotated[str, Meta(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}(?!\n)$"), PUBLIC]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){1,3}(?!\n)$"), PUBLIC]


class ListDevices(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The timeout."""

    timeout: Annotated[Timeout, Meta(le=60)] = 10


class Block(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device, and whether it is to be blocked."""

    mac: Mac
    blocked: Annotated[bool, PUBLIC] = True
    timeout: Annotated[Timeout, Meta(le=60)] = 10


class Install(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The firmware, and its secret key."""

    version: Version
    key: Annotated[str, Meta(max_length=200)]
    timeout: Annotated[Timeout, Meta(le=900)] = 300


class Devices(Output, frozen=True, kw_only=True):
    """The devices by MAC address, with true for a blocked one."""

    devices: Annotated[dict[str, bool], PUBLIC] = field(default_factory=dict)


class Blocked(Output, frozen=True, kw_only=True):
    """The device afterwards."""

    mac: Annotated[str, PUBLIC] = ""
    blocked: Annotated[bool, PUBLIC] = False


class Installed(Output, frozen=True, kw_only=True):
    """The firmware afterwards."""

    version: Annotated[str, PUBLIC] = ""


OPERATIONS = (
    Operation(
        name="router_devices",
        summary="List the devices of a router.",
        parameters=ListDevices,
        output=Devices,
        risk=Risk.READ,
        backends=BACKENDS,
        idempotent=True,
    ),
    Operation(
        name="router_block",
        summary="Block a device, or let it in again.",
        parameters=Block,
        output=Blocked,
        risk=Risk.CHANGE,
        backends=BACKENDS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="router_install",
        summary="Install firmware.",
        parameters=Install,
        output=Installed,
        risk=Risk.ADMIN,
        backends=BACKENDS,
        baseline=True,
        probe=True,
        preview=True,
    ),
)
