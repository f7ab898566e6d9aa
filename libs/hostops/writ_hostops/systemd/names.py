"""Unit names by systemd's grammar (systemd.unit(5), unit_name_is_valid in systemd's source); a pure function.

Only services, sockets and timers: starting or stopping targets, mounts or slices is more than a service operation says.
"""

from __future__ import annotations

import re

from writ_hostops.errors import HostError

KINDS = ("service", "socket", "timer")
_OTHER_KINDS = ("target", "device", "mount", "automount", "swap", "path", "slice", "scope", "snapshot", "busname")
MAX_NAME = 255
_NAME = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\-]*(@[A-Za-z0-9:_.\\@-]*)?")


def can_be_named(name: str) -> bool:
    """Return whether the name is a unit of a supported kind, and no template."""
    stem, _, kind = name.rpartition(".")
    return kind in KINDS and not stem.endswith("@")


def is_own(state: str) -> bool:
    """Return whether a unit file in this state (systemctl(1), is-enabled) belongs to a unit of that name and is not
    masked.
    """
    return state != "alias" and not state.startswith("masked")


def escaped(name: str) -> str:
    """Escape a name as in the unit's object path (bus_label_escape in systemd's source)."""
    plain = [at > 0 if one.isdigit() else one.isalpha() for at, one in enumerate(name)]
    return "".join(one if as_is else f"_{ord(one):02x}" for one, as_is in zip(name, plain))


def short_name(full: str) -> str:
    """Return the one spelling that a request may use."""
    stem, _, kind = full.rpartition(".")
    return stem if kind == "service" else full


def full_name(name: str) -> str:
    """Return `name` with its kind: a bare `nginx` means nginx.service. HostError `invalid_parameter` for an invalid
    name.
    """
    stem, dot, kind = name.rpartition(".")
    if dot and kind in _OTHER_KINDS:
        raise HostError("invalid_parameter", f"service_name must be one of {', '.join(KINDS)}, not a {kind} unit")
    full = name if dot and kind in KINDS else f"{name}.service"
    stem = full.rpartition(".")[0]
    if len(full) > MAX_NAME or not _NAME.fullmatch(stem):
        raise HostError("invalid_parameter", "service_name is not a unit name of systemd")
    if stem.endswith("@"):
        raise HostError("invalid_parameter", "service_name is a template: it needs an instance after the @")
    return full
