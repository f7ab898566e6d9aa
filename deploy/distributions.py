"""The distributions that are shipped, read from distributions.toml, and the pyproject.toml and README of each.

Standard library only: images are built with it before anything is installed.
"""

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
DECLARED = ROOT / "deploy" / "distributions.toml"
VERSION_FILE = ROOT / "libs" / "contracts" / "writ_contracts" / "version.py"
PYTHON = ">=3.11"
BUILD_TOOL = "hatchling>=1.27"


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One entry. `packages` are folders of libs/ and services/; `requires` and `extras` are requirements of PEP 508."""

    name: str
    description: str
    packages: tuple[str, ...]
    siblings: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def imports(self) -> tuple[str, ...]:
        """Return the import names of its packages."""
        return tuple(f"writ_{folder}" for folder in self.packages)

    @property
    def stem(self) -> str:
        """Return the name as the names of its files begin."""
        return self.name.replace("-", "_")

    def dependencies(self, extra: str | None = None) -> list[str]:
        """Return all requirements, or those of an extra, with siblings at the version of this tree."""
        return [pinned(one) for one in ((*self.siblings, *self.requires) if extra is None else self.extras[extra])]


def pinned(requirement: str) -> str:
    """Return the requirement; one of this tree's distributions gets the version of this tree."""
    return f"{requirement}=={version()}" if required_name(requirement) in distributions() else requirement


def required_name(requirement: str) -> str:
    """Return the name of the distribution that a requirement is for."""
    return re.split(r"[\s\[<>=!~;@]", requirement, maxsplit=1)[0].lower()


@cache
def distributions() -> Mapping[str, Distribution]:
    """Return all distributions by name."""
    return {name: _distribution(name, **entry) for name, entry in tomllib.loads(DECLARED.read_text()).items()}


def _distribution(
    name: str,
    *,
    description: str,
    packages: list[str],
    siblings: Iterable[str] = (),
    requires: Iterable[str] = (),
    scripts: Mapping[str, str] | None = None,
    extras: Mapping[str, list[str]] | None = None,
) -> Distribution:
    return Distribution(
        name=name,
        description=description,
        packages=tuple(packages),
        siblings=tuple(siblings),
        requires=tuple(requires),
        scripts=scripts or {},
        extras={extra: tuple(entries) for extra, entries in (extras or {}).items()},
    )


def holder_of(package: str) -> Distribution:
    """Return the distribution that holds an import package. Raises LookupError."""
    for distribution in distributions().values():
        if package in distribution.imports:
            return distribution
    raise LookupError(f"no distribution holds {package}: {DECLARED}")


@cache
def version() -> str:
    """Return the version of this tree."""
    found = re.search(r'^VERSION = "([^"]+)"$', VERSION_FILE.read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f'{VERSION_FILE} has no line VERSION = "…"')
    return found[1]


def source_of(package: str) -> Path:
    """Return the folder of an import package, such as libs/contracts/writ_contracts. Raises LookupError."""
    folder = package.removeprefix("writ_")
    for top in ("libs", "services"):
        if (found := ROOT / top / folder / package).is_dir():
            return found
    raise LookupError(f"neither libs/{folder} nor services/{folder} has {package}")


def pyproject(distribution: Distribution) -> str:
    """Return the pyproject.toml that a distribution is built from."""
    lines = [
        "[build-system]",
        f"requires = {_list([BUILD_TOOL])}",
        'build-backend = "hatchling.build"',
        "",
        "[project]",
        f"name = {_string(distribution.name)}",
        f"version = {_string(version())}",
        f"description = {_string(distribution.description)}",
        'readme = "README.md"',
        'license = "Apache-2.0"',
        'license-files = ["LICENSE"]',
        f"requires-python = {_string(PYTHON)}",
        f"dependencies = {_list(distribution.dependencies())}",
        *_table("project.scripts", {name: _string(place) for name, place in distribution.scripts.items()}),
        *_table(
            "project.optional-dependencies",
            {extra: _list(distribution.dependencies(extra)) for extra in distribution.extras},
        ),
        *_table("tool.hatch.build.targets.wheel", {"packages": _list(distribution.imports)}),
    ]
    return "\n".join(lines) + "\n"


def readme(distribution: Distribution) -> str:
    """Return the README of a distribution: its description, its packages, and what installs it."""
    packages = "\n".join(f"- `{name}`: {_first_line(name)}" for name in distribution.imports)
    extras = f" Extras: {', '.join(f'`{extra}`' for extra in distribution.extras)}." if distribution.extras else ""
    return (
        f"# {distribution.name}\n\n{distribution.description}\n\nOne of the distributions of Writ {version()}; the"
        f" command `writ` comes with `writops`.{extras}\n\n{packages}\n"
    )


def _first_line(package: str) -> str:
    docstring = ast.get_docstring(ast.parse((source_of(package) / "__init__.py").read_text())) or ""
    return docstring.partition("\n")[0]


def _table(name: str, entries: Mapping[str, str]) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {value}" for key, value in entries.items())] if entries else []


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(_string, values)) + "]"


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # of printable text, a basic string of TOML is one of JSON
