"""Operations on the system's packages (Debian)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.backends import HOSTS
from writ_contracts.catalogue.grammar import Flag, PackageName, PackagePattern, PackageVersion
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout


class PackageList(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A filter: by glob, or only packages with a newer version."""

    pattern: Annotated[PackagePattern | None, PUBLIC] = None
    upgradable: Flag = False
    timeout: Annotated[Timeout, Meta(le=120)] = 60


IndexMode = Annotated[
    Literal["keep", "fetch", "only"],
    Meta(description="without package_name: keep the index at hand, fetch it first, or only fetch it"),
    PUBLIC,
]


Globs = Annotated[list[PackagePattern], Meta(max_length=100)] | None
OnlyPackages = Annotated[
    Globs, Meta(description="every package that is installed, updated or removed matches one of these"), PUBLIC
]
_KEPT = "no package that matches one of these is changed; packages that dpkg had not finished are still configured"
KeepPackages = Annotated[Globs, Meta(description=_KEPT), PUBLIC]


class PackageUpdate(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The package and its version (default the newest in the index). Without a name, all packages; none is removed."""

    package_name: Annotated[PackageName | None, PUBLIC] = None
    version: Annotated[PackageVersion | None, PUBLIC] = None
    index: IndexMode = "keep"
    only_packages: OnlyPackages = None
    keep_packages: KeepPackages = None
    timeout: Annotated[Timeout, Meta(le=3600)] = 300

    def __post_init__(self) -> None:
        if self.version is not None and self.package_name is None:
            raise ValueError("version needs package_name")
        if self.index != "keep" and self.package_name is not None:
            raise ValueError("index is for an update without package_name")


class PackageInstall(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The package and its version (default the newest)."""

    package_name: Annotated[PackageName, PUBLIC]
    version: Annotated[PackageVersion | None, PUBLIC] = None
    only_packages: OnlyPackages = None
    keep_packages: KeepPackages = None
    timeout: Annotated[Timeout, Meta(le=3600)] = 300


class PackageRemove(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The package; `purge` also deletes its settings."""

    package_name: Annotated[PackageName, PUBLIC]
    purge: Flag = False
    only_packages: OnlyPackages = None
    keep_packages: KeepPackages = None
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


class PackageVersions(Struct, frozen=True, kw_only=True):
    """One package that changed; "" where it was, or is, not installed."""

    package_name: str
    version_before: str = ""
    version_after: str = ""


class PackageChanged(Output, frozen=True, kw_only=True):
    """The package's version before and after ("" where it was, or is, not installed).

    `changed`: all packages that changed; `kept_back`: those which an update of all packages left alone. `would`,
    `commands`: the actions found by a dry run; `cut`: these are not all.
    """

    package_name: Annotated[str, PUBLIC] = ""
    version_before: Annotated[str, PUBLIC] = ""
    version_after: Annotated[str, PUBLIC] = ""
    also_changed: Annotated[list[str], PUBLIC] = field(default_factory=list)
    changed: Annotated[list[PackageVersions], PUBLIC] = field(default_factory=list)
    kept_back: Annotated[list[str], PUBLIC] = field(default_factory=list)
    index_fetched_at: Annotated[float | None, PUBLIC] = None
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
        backends=HOSTS,
        idempotent=True,
    ),
    Operation(
        name="package_update",
        summary="Upgrade a package, or all of them.",
        parameters=PackageUpdate,
        output=PackageChanged,
        risk=Risk.CHANGE,
        backends=HOSTS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("version", "status", "packages", "by_index"),
        all_without="package_name",
    ),
    Operation(
        name="package_install",
        summary="Install a package.",
        parameters=PackageInstall,
        output=PackageChanged,
        risk=Risk.CHANGE,
        backends=HOSTS,
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
        backends=HOSTS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
        settled=("version", "status"),
    ),
)
