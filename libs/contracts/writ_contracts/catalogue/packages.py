"""Operations on the system's packages (Debian)."""

from typing import Annotated

from msgspec import Meta, Struct, field

from writ_contracts.catalogue.grammar import Flag, PackageName, PackagePattern, PackageVersion
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

BACKENDS = ("local", "ssh")


class PackageList(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A filter: by glob, or only packages with a newer version."""

    pattern: Annotated[PackagePattern | None, PUBLIC] = None
    upgradable: Flag = False
    timeout: Annotated[Timeout, Meta(le=120)] = 60


class PackageUpdate(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The package and its version (default the newest). Without a name only the index is fetched again."""

    package_name: Annotated[PackageName | None, PUBLIC] = None
    version: Annotated[PackageVersion | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=3600)] = 300

    def __post_init__(self) -> None:
        if self.version is not None and self.package_name is None:
            raise ValueError("version needs package_name")


class PackageInstall(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The package and its version (default the newest)."""

    package_name: Annotated[PackageName, PUBLIC]
    version: Annotated[PackageVersion | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=3600)] = 300


class PackageRemove(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The package; `purge` also deletes its settings."""

    package_name: Annotated[PackageName, PUBLIC]
    purge: Flag = False
    timeout: Annotated[Timeout, Meta(le=900)] = 180


class PackageEntry(Struct, frozen=True, kw_only=True):
    """One package; `candidate` is the version after an update."""

    package_name: str
    version: str = ""
    candidate: str = ""
    architecture: str = ""


class PackageListing(Output, frozen=True, kw_only=True):
    """The packages, by name."""

    packages: Annotated[list[PackageEntry], PUBLIC] = field(default_factory=list)
    truncated: Annotated[bool, PUBLIC] = False


class PackageChanged(Output, frozen=True, kw_only=True):
    """The package's version before and after ("" where it was, or is, not installed).

    `would`, `commands`: the actions found by a dry run; `cut`: these are not all.
    """

    package_name: Annotated[str, PUBLIC] = ""
    version_before: Annotated[str, PUBLIC] = ""
    version_after: Annotated[str, PUBLIC] = ""
    also_changed: Annotated[list[str], PUBLIC] = field(default_factory=list)
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)
    reboot_required: Annotated[bool, PUBLIC] = False
    cut: Annotated[bool, PUBLIC] = False
    log: str = ""


OPERATIONS = (
    Operation(
        name="package_list",
        summary="List installed packages.",
        parameters=PackageList,
        output=PackageListing,
        risk=Risk.READ,
        backends=BACKENDS,
        idempotent=True,
    ),
    Operation(
        name="package_update",
        summary="Upgrade a package, or refresh the package index.",
        parameters=PackageUpdate,
        output=PackageChanged,
        risk=Risk.CHANGE,
        backends=BACKENDS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("version", "status"),
    ),
    Operation(
        name="package_install",
        summary="Install a package.",
        parameters=PackageInstall,
        output=PackageChanged,
        risk=Risk.CHANGE,
        backends=BACKENDS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("version", "status"),
    ),
    Operation(
        name="package_remove",
        summary="Remove a package.",
        parameters=PackageRemove,
        output=PackageChanged,
        risk=Risk.ADMIN,
        backends=BACKENDS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("version", "status"),
    ),
)
