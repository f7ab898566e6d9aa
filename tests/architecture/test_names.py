"""A class has a name of its own, and docstrings name only files, modules, classes and members that exist.

`tests/docs/test_names.py` checks documents, `tests/docs/test_commands.py` the commands in both.
"""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from tests.architecture.tree import parsed
from tests.docs.test_names import DOTTED, FILE, ROOT, exists, files

CODE = [path for top in ("libs", "services") for path in sorted((ROOT / top).rglob("*.py"))]
MEMBER = re.compile(r"`([A-Z]\w+)\.(\w+)(?:\(\))?`")
PRIVATE = re.compile(r"`(_[a-z]\w+)(?:\(\))?`")
CLASS = re.compile(r"`([A-Z][a-z]\w+)`")
RAISED = re.compile(r"\b[Rr]aises? ([A-Z][a-z]\w+)")
CONSTANT = re.compile(r"`([A-Z][A-Z_0-9]{2,})`")
CALL = re.compile(r"`([a-z_]\w+)\([^`]*\)?`")
OTHERS = {"nats-io/nats.py"}
"""A repository of someone else, not a file of ours."""
SUFFIXES = {"_total"}
"""Ends of metric names."""
BROWSER = {
    "PublicKeyCredential",
    "AuthenticatorAssertionResponseJSON",
    "AuthenticatorAttestationResponseJSON",
    "AuthenticationResponseJSON",
    "RegistrationResponseJSON",
    "parseCreationOptionsFromJSON",
    "toJSON",
}
"""Names of WebAuthn."""
FOREIGN = BROWSER | {"WhoIsResponse", "UserProfile", "WritSecurityViolation", "SSH_AUTH_SOCK"}
"""Types of Tailscale's API, an alert of Prometheus, a variable of OpenSSH."""
VARIABLES = re.compile(r"(?:WRIT|SYSTEMMANAGER|NATS|OTEL)_")
"""Environment variables, which a test of documents checks."""
MIRRORED = {"Unreachable", "TimedOut", "Conflict", "Full"}
"""Errors of the bus. Each is a subclass of the error of this name in `writ_contracts.errors`."""


@cache
def docstrings(path: Path) -> str:
    """Return all docstrings of a file; a string below an assignment documents it and counts, too."""
    tree = parsed(path)
    return "\n".join(
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )


@cache
def names(path: Path) -> frozenset[str]:
    """Return every name that the code of a file defines or uses, without its docstrings."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        for field in ("name", "id", "attr", "arg"):
            value = getattr(node, field, None)
            found |= {value} if isinstance(value, str) else set()
    return frozenset(found)


@cache
def everything() -> frozenset[str]:
    """Return every name that the code of the tree defines or uses."""
    imported = (name.split(".")[-1] for path in CODE for name in _imported(path))
    return frozenset((*imported, *(name for path in CODE for name in names(path))))


def _imported(path: Path) -> list[str]:
    return [node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.alias)]


@cache
def classes(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef))


def offenders(found: dict[Path, set[str]]) -> dict[str, set[str]]:
    return {str(path.relative_to(ROOT)): wrong for path, wrong in found.items() if wrong}


def test_docstrings_name_files_that_exist() -> None:
    found = {
        path: {
            name
            for name in FILE.findall(docstrings(path))
            if name not in OTHERS and not any(known.endswith(f"/{name}") for known in files())
        }
        for path in CODE
    }
    assert offenders(found) == {}


def test_docstrings_name_modules_that_exist() -> None:
    found = {
        path: {
            name for name in DOTTED.findall(docstrings(path)) if not name.endswith((".py", ".md")) and not exists(name)
        }
        for path in CODE
    }
    assert offenders(found) == {}


def test_docstrings_name_members_that_exist() -> None:
    found = {
        path: {
            f"{owner}.{member}"
            for owner, member in MEMBER.findall(docstrings(path))
            if member not in (names(path) if owner in classes(path) else everything() | FOREIGN)
        }
        | {name for name in PRIVATE.findall(docstrings(path)) if name not in names(path) | SUFFIXES}
        for path in CODE
    }
    assert offenders(found) == {}


def test_docstrings_name_classes_constants_and_functions_that_exist() -> None:
    found = {
        path: {
            name
            for pattern in (CLASS, RAISED, CONSTANT, CALL)
            for name in pattern.findall(docstrings(path))
            if name not in everything() | FOREIGN and not VARIABLES.match(name)
        }
        for path in CODE
    }
    assert offenders(found) == {}


def test_class_names_are_unique() -> None:
    """Otherwise a search for a class finds others, too."""
    number = Counter(name for path in CODE for name in _defined(path))
    assert {name for name, times in number.items() if times > 1} == MIRRORED


def _defined(path: Path) -> list[str]:
    return [node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]
