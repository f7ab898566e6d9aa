"""package_list: installed packages and available upgrades. The glob is matched here, not by dpkg."""

from __future__ import annotations

import fnmatch
from typing import Any, Dict, List, Mapping, Tuple

from writ_hostops.fields import Fields
from writ_hostops.packages import apt, dpkg
from writ_hostops.packages.names import pattern_from
from writ_hostops.protocol import HostReply, OperationCall

LIMIT = 5000


def run(call: OperationCall) -> HostReply:
    """List the packages by name. `candidate` is filled in if `upgradable` was requested."""
    pattern, upgradable = parse_arguments(call.parameters)
    packages = dpkg.installed(call.stop)
    newer = {step.name: step.after for step in apt.simulate(call.stop, "dist-upgrade")} if upgradable else {}
    return listed(packages, newer, pattern, upgradable)


def parse_arguments(parameters: Mapping[str, Any]) -> Tuple[str, bool]:
    """Parse `pattern` and `upgradable`. HostError `invalid_parameter`."""
    fields = Fields(dict(parameters), "parameters")
    pattern, upgradable = pattern_from(fields), fields.flag("upgradable", False)
    fields.end()
    return pattern, upgradable


def listed(
    packages: dpkg.Installed, newer: Mapping[str, str], pattern: str = "", upgradable: bool = False
) -> HostReply:
    """Return the matching packages, at most LIMIT. `newer`: versions that an upgrade would bring."""
    names = [
        name
        for name in sorted(packages)
        if (not pattern or fnmatch.fnmatchcase(packages[name].name, pattern))
        and (not upgradable or (name in newer and newer[name] != packages[name].version))
    ]
    entries: List[Dict[str, Any]] = [
        {
            "package_name": packages[name].name,
            "version": packages[name].version,
            "candidate": newer.get(name, ""),
            "architecture": packages[name].architecture,
        }
        for name in names[:LIMIT]
    ]
    return HostReply(output={"packages": entries, "truncated": len(names) > LIMIT})


def names(call: OperationCall) -> List[str]:
    """Return the names of installed packages without problems; packages of another architecture also as
    name:architecture.
    """
    return well(dpkg.installed(call.stop))


def well(packages: dpkg.Installed) -> List[str]:
    """Return the names of installed packages without problems."""
    return sorted(name for name, package in packages.items() if package.status == "installed")
