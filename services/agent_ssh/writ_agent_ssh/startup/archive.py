"""The archive sent to hosts: hostops, its bundled jeepney and modules of plugins; one zip, the same for all hosts.

Plugins name their modules by the entry point group `writ.hostops`, `name = "package.module"`: plain Python >= 3.9 with
only the standard library and hostops. Their `HANDLERS` are as in `writ_hostops.operations`.
"""

import hashlib
import importlib
import importlib.util
import inspect
import io
import json
import zipfile
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from msgspec import Struct

from writ_agent_ssh.startup import bootstrap
from writ_contracts.errors import ConfigError
from writ_hostops.operations import HANDLERS

GROUP = "writ.hostops"
COMMAND = """python3 -I -S -c 'exec(open(0,"rb",0,closefd=False).readline())'"""
"""The one command that a host's shell ever gets. Within single quotes sh, bash, dash, fish, zsh and csh read it
alike, as long as it has no quote, backslash or exclamation mark.
"""
_BEFORE_IMPORTS = "import sys\nsys.dont_write_bytecode = True\n"
"""A host gets no file outside Writ's folder. On a full disk, Python before 3.13 would keep a .pyc that is cut off, and
each later import of that module would fail.
"""
_WHEN = (1980, 1, 1, 0, 0, 0)


class Archive(Struct, frozen=True, kw_only=True):
    """The zip, its digest, the digest of its unpacked files, and its modules with handlers by operation."""

    data: bytes
    digest: str
    contents: str
    carried: tuple[str, ...]
    operations: frozenset[str]

    def opening(self, nonce: str, folder: str) -> bytes:
        """Return the first bytes to send: the bootstrap as one line, then its configuration."""
        requested = {
            "nonce": nonce,
            "folder": folder,
            "digest": self.digest,
            "size": len(self.data),
            "contents": self.contents,
            "carried": self.carried,
        }
        text = f"{_BEFORE_IMPORTS}{inspect.getsource(bootstrap)}\nmain()\n"
        return f"exec({json.dumps(text)})\n{json.dumps(requested)}\n".encode("ascii")


def build(found: Iterable[EntryPoint] | None = None) -> Archive:
    """Build the archive of the packages installed here. Raises ConfigError for a plugin's module that cannot be
    loaded.
    """
    carried = tuple(sorted(entry.value for entry in (entry_points(group=GROUP) if found is None else found)))
    operations = set(HANDLERS)
    for name in carried:
        operations |= set(_handlers(name))
    files = sorted(_files(carried))
    data = _zipped(files)
    return Archive(
        data=data,
        digest=hashlib.sha256(data).hexdigest(),
        contents=_contents(files),
        carried=carried,
        operations=frozenset(operations),
    )


def _contents(files: Iterable[tuple[str, bytes]]) -> str:
    """Return the digests of the files, as `contents` of the bootstrap does."""
    digest = hashlib.sha256()
    for name, text in sorted(files):
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def _zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in files:
            bundle.writestr(zipfile.ZipInfo(name, _WHEN), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _handlers(name: str) -> Collection[str]:
    try:
        handlers: dict[str, object] = importlib.import_module(name).HANDLERS
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name}, which a plugin sends along, cannot be loaded: {error}") from error
    return handlers.keys()


def _files(carried: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for package in ("writ_hostops", "jeepney"):
        top = _place(package).parent
        for path in top.rglob("*.py"):
            if "tests" not in path.parts:
                yield f"{package}/{path.relative_to(top)}", path.read_bytes()
    parents: set[str] = set()
    for name in carried:
        parts = name.split(".")
        parents |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        yield f"{'/'.join(parts)}.py", _place(name).read_bytes()
    for parent in parents:
        yield f"{parent}/__init__.py", b""


def _place(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigError(f"the source of {name} is not here")
    return Path(spec.origin)
