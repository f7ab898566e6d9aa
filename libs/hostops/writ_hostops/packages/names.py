"""Package names and versions by Debian Policy 5.6.1 and 5.6.12, without the forms that apt-get would read as a
command.
"""

from __future__ import annotations

import re
from typing import List, Optional

from writ_hostops.errors import HostError
from writ_hostops.fields import Fields

MAX_NAME = 128
# apt-get takes a trailing `-` of a name as "remove it instead", and of a version too.
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]")
_VERSION = re.compile(r"(?:[0-9]{1,9}:)?[0-9][A-Za-z0-9.+~-]*(?<!-)")
_PATTERN = re.compile(r"[a-z0-9*?][a-z0-9*?+.-]*")


def name_from(fields: Fields, default: "str | None" = None) -> str:
    """Take `package_name`; "" only with that default."""
    return _taken(fields, "package_name", _NAME, "is not a package name of Debian", default)


def version_from(fields: Fields) -> str:
    """Take `version`, whole and exact; "" for the newest."""
    return _taken(fields, "version", _VERSION, "is not an exact version of a Debian package", "")


def pattern_from(fields: Fields) -> str:
    """Take `pattern`; "" for all."""
    return _taken(fields, "pattern", _PATTERN, "is not a glob of package names", "")


def globs_from(fields: Fields, name: str) -> Optional[List[str]]:
    """Take a list of globs; None if absent."""
    globs = fields.optional_items(name)
    if globs is None:
        return None
    if not all(isinstance(glob, str) and len(glob) <= MAX_NAME and _PATTERN.fullmatch(glob) for glob in globs):
        raise fields.wrong(name, "must be a list of globs of package names")
    return globs


def _taken(fields: Fields, name: str, grammar: "re.Pattern[str]", wrong: str, default: "str | None") -> str:
    text = fields.text(name, default)
    if text == "" and default == "":
        return ""
    if len(text) > MAX_NAME or not grammar.fullmatch(text):
        raise HostError("invalid_parameter", f"parameters.{name} {wrong}")
    return text
