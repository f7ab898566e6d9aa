"""The host's own ceiling: the most an agent does here, whatever policy signs.

Root of the host writes the file, and no service of Writ can. It only narrows: a missing list allows everything signed
by policy. With `principals`, risk `admin` needs the signature of one of these people's keys, which the agent verifies
itself.
"""

import stat
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from msgspec import Meta, Struct

from writ_contracts.errors import ConfigError
from writ_contracts.ids import PrincipalId, PublicKey
from writ_contracts.inventory import Target
from writ_documents import shapes, yaml_file

Pattern = Annotated[str, Meta(min_length=1, max_length=255, description="a name; * stands for any characters")]
RootPath = Annotated[str, Meta(pattern=r"^/[^\x00\n]*(?!\n)$", max_length=4096)]
ROOT = 0
SERVICE = "service_name"


class Ceiling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `WRIT_CEILING`. An empty list allows nothing."""

    operations: list[Pattern] | None = None
    targets: list[Pattern] | None = None
    services: list[Pattern] | None = None
    file_roots: list[RootPath] | None = None
    principals: dict[PrincipalId, list[PublicKey]] | None = None


NO_CEILING = Ceiling()


def read_ceiling(path: Path, *, owner: int = ROOT) -> Ceiling:
    """Return the ceiling. Raises ConfigError for mistakes, and where anybody but root could have written it."""
    if path.is_symlink():
        raise ConfigError(f"{path}: is a symbolic link: name the file itself")
    place = path.absolute()
    for one in (place, *place.parent.resolve().parents, place.parent.resolve()):
        _require_roots(one, owner)
    return shapes.convert(yaml_file.read(path), Ceiling)


def _require_roots(place: Path, owner: int) -> None:
    try:
        status = place.stat()
    except OSError as error:
        raise ConfigError(f"{place}: can't be read: {error.strerror}") from error
    shared = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX  # there nobody renames another's file
    if status.st_uid not in (ROOT, owner) or (status.st_mode & 0o022 and not shared):
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"{place}: users other than root can write it (uid {status.st_uid}, mode {mode:04o})")


def beyond(ceiling: Ceiling, operation: str, target: Target, parameters: Mapping[str, Any]) -> str:
    """Return the part of this operation beyond the ceiling; empty if within it."""
    if not _allows(ceiling.operations, operation):
        return f"operation {operation}"
    service = parameters.get(SERVICE)
    if service is not None and not any(_allows(ceiling.services, name) for name in _names(str(service))):
        return f"service {service}"
    return target_beyond(ceiling, target)


def target_beyond(ceiling: Ceiling, target: Target) -> str:
    """Return the part of the target beyond the ceiling; empty if within it."""
    if not _allows(ceiling.targets, target.id):
        return f"target {target.id}"
    if ceiling.file_roots is not None:
        for root in target.roots():
            if not any(PurePosixPath(root.path).is_relative_to(allowed) for allowed in ceiling.file_roots):
                return f"file root {root.path}"
    return ""


def _names(service: str) -> tuple[str, str]:
    """Return the name of a unit as requests have it, and as systemd has it."""
    return service, service if service.endswith((".socket", ".timer")) else f"{service}.service"


def _allows(patterns: list[str] | None, name: str) -> bool:
    return patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns)
