"""Bounds of the packages that an operation may touch, the named one included: `only_packages` and `keep_packages`.

apt plans again when it makes the change, and may plan more than its simulation. So the bounds are compared twice: with
the simulation, and by a hook (`DPkg::Pre-Install-Pkgs`, apt.conf(5)) with the steps that apt is about to carry out. apt
runs the hook under dpkg's lock, after the host's own hooks. If it fails, apt does not run dpkg.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from dataclasses import dataclass
from typing import List, Optional, Sequence

from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.packages.apt import NO_HOOK, AptStep, Hook
from writ_hostops.packages.names import globs_from

MOST_NAMED = 5
# Lines of the hook's input behind the first empty one: name, version, architecture, multi-arch, direction, the same
# three of the new version, action. A package that is unpacked is configured by a line of its own.
_HOOK = """\
import fnmatch, os, sys

settings, _, steps = sys.stdin.read().partition("\\n\\n")
if settings.split("\\n")[0] != "VERSION 3":
    sys.exit("apt describes its steps in another version than 3")
names = {line.split()[0] for line in steps.splitlines() if not line.endswith(" **CONFIGURE**")}
is_in = lambda name, globs: any(fnmatch.fnmatchcase(name, glob) for glob in os.environ[globs].split())
only, keep = "WRIT_ONLY_PACKAGES", "WRIT_KEEP_PACKAGES"
refused = sorted(name for name in names if is_in(name, keep) or not is_in(name, only))
sys.exit("\\n".join(f"writ: outside its bounds: {name}" for name in refused) or 0)
"""
# apt finds the hook's settings by its first word.
_COMMAND = 'command "$WRIT_PYTHON" -I -S -c "$WRIT_PACKAGE_HOOK"'
_REFUSED = re.compile(r"^writ: outside its bounds: (\S+)$", re.MULTILINE)
# dpkg removes a package when others have replaced all its files (Debian Policy 7.6.2). apt does not plan it.
_DISAPPEARED = re.compile(r"^\(Noting disappearance of ([^\s,]+), which has been completely replaced", re.MULTILINE)


@dataclass(frozen=True)
class PackageBounds:
    """Globs of names without architecture. `only` None bounds nothing, [] permits nothing."""

    only: Optional[Sequence[str]] = None
    keep: Sequence[str] = ()

    def __bool__(self) -> bool:
        return self.only is not None or bool(self.keep)

    def why(self, name: str) -> str:
        """Return the reason to leave this package alone; "" without one."""
        bare = name.partition(":")[0]
        glob = next((glob for glob in self.keep if fnmatch.fnmatchcase(bare, glob)), "")
        if glob:
            return f"keep_packages has {glob}"
        inside = self.only is None or any(fnmatch.fnmatchcase(bare, glob) for glob in self.only)
        return "" if inside else "only_packages has no such package"

    def refuse(self, steps: Sequence[AptStep]) -> None:
        """Raise HostError (`bounds_refused`) for steps on packages outside the bounds."""
        refused = [f"{step.text()} ({why})" for step in steps if (why := self.why(step.name))]
        if refused:
            raise _refusal(refused)

    def refuse_hooked(self, errors: str) -> None:
        """Raise the same if apt's errors have packages that the hook refused."""
        refused = [f"{name} ({self.why(name)})" for name in _REFUSED.findall(errors) if self.why(name)]
        if refused:
            raise _refusal(refused)

    def disappeared(self, out: str) -> List[str]:
        """Return the packages outside the bounds that dpkg removed because others replaced all their files."""
        return [f"{name} ({why})" for name in _DISAPPEARED.findall(out) if (why := self.why(name))]

    def hook(self) -> Hook:
        """Return the hook that compares apt's steps. Its command is constant; the globs are in its environment."""
        if not self:
            return NO_HOOK
        options = ("-o", f"DPkg::Pre-Install-Pkgs::={_COMMAND}", "-o", "DPkg::Tools::Options::command::Version=3")
        environment = {
            "WRIT_PYTHON": sys.executable,
            "WRIT_PACKAGE_HOOK": _HOOK,
            "WRIT_ONLY_PACKAGES": " ".join(["*"] if self.only is None else self.only),
            "WRIT_KEEP_PACKAGES": " ".join(self.keep),
        }
        return Hook(options, environment)


NO_BOUNDS = PackageBounds()


def bounds_from(fields: Fields) -> PackageBounds:
    """Take `only_packages` and `keep_packages`."""
    return PackageBounds(globs_from(fields, "only_packages"), globs_from(fields, "keep_packages") or ())


def _refusal(refused: Sequence[str]) -> HostError:
    more = f" and {len(refused) - MOST_NAMED} more" if len(refused) > MOST_NAMED else ""
    listed = ", ".join(refused[:MOST_NAMED])
    message = f"no package was changed: it would change packages outside its bounds: {listed}{more}"
    return HostError("bounds_refused", message)
