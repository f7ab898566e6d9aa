"""The digest of an installed distribution: SHA-256 over the names and contents of its files.

The same build has the same digest in every environment. So files written differently by each installer
(RECORD itself, INSTALLER, direct_url.json, their bytecode, scripts with the interpreter's path) do not count.
"""

import hashlib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackagePath
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

COUNTED_METADATA = ("METADATA", "entry_points.txt")
EDITABLE = "direct_url.json"


class Folder(Struct, frozen=True):
    """The part of a folder in `direct_url.json`."""

    editable: bool = False


class Origin(Struct, frozen=True):
    """The content of `direct_url.json` (PEP 610)."""

    dir_info: Folder = Folder()


def distribution_digest(distribution: Distribution, modules: Iterable[str]) -> str:
    """Return the digest. `modules`: those of its entry points. Their packages stand for the files of a distribution
    without a list of its own: an editable installation, or a folder on the path.
    """
    if _is_editable(distribution):  # a build that claims it has another digest than one that does not
        files = {EDITABLE: b"editable", **dict(_sources(modules))}
    else:
        files = dict(_listed(distribution)) or dict(_sources(modules))
    files |= {name: text.encode() for name in COUNTED_METADATA if (text := distribution.read_text(name)) is not None}
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def _is_editable(distribution: Distribution) -> bool:
    """Return whether it is installed as a link to its sources: its `.pth` file has the path of these."""
    try:
        return msgspec.json.decode(distribution.read_text(EDITABLE) or "{}", type=Origin).dir_info.editable
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _listed(distribution: Distribution) -> Iterator[tuple[str, bytes]]:
    """Yield the code and data listed in RECORD; a missing file is empty. A `.pth` file is code: Python runs it."""
    for file in distribution.files or ():
        top = file.parts[0]
        if top == ".." or ".dist-info" in top or ".egg-info" in top or _is_compiled_here(file):
            continue
        path = Path(str(distribution.locate_file(file)))
        yield file.as_posix(), path.read_bytes() if path.is_file() else b""


def _is_compiled_here(file: PackagePath) -> bool:
    """Return whether an installer made this bytecode: it lists it without a digest. A build may have other bytecode,
    and Python runs it in place of a source.
    """
    return file.suffix == ".pyc" and file.parent.name == "__pycache__" and file.hash is None


def _sources(modules: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the modules beside those of the entry points."""
    for package in sorted({module.rpartition(".")[0] or module for module in modules}):
        for folder in _folders(package):
            for path in folder.rglob("*.py"):
                yield f"{package}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _folders(package: str) -> list[Path]:
    """Return the folders of a package, without importing it."""
    top, *inner = package.split(".")
    spec = find_spec(top)
    return [Path(place, *inner) for place in (spec.submodule_search_locations or ())] if spec else []
