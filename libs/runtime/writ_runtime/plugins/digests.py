"""The digest of an installed distribution: SHA-256 over the names and contents of its files.

The same build has the same digest in every environment. So files written differently by each installer
(RECORD itself, INSTALLER, direct_url.json, byte code, scripts with the interpreter's path) do not count.
"""

import hashlib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path

COUNTED_METADATA = ("METADATA", "entry_points.txt")


def distribution_digest(distribution: Distribution, modules: Iterable[str]) -> str:
    """Return the digest. `modules`: those of its entry points. Their packages stand for the files of a distribution
    without a list of its own: an editable installation, or a folder on the path.
    """
    files = dict(_listed(distribution)) or dict(_sources(modules))
    files |= {name: text.encode() for name in COUNTED_METADATA if (text := distribution.read_text(name)) is not None}
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def _listed(distribution: Distribution) -> Iterator[tuple[str, bytes]]:
    """Yield the code and data listed in RECORD; a missing file is empty."""
    for file in distribution.files or ():
        top = file.parts[0]
        if top == ".." or ".dist-info" in top or ".egg-info" in top or file.suffix == ".pyc" or _is_editable(file.name):
            continue
        path = Path(str(distribution.locate_file(file)))
        yield file.as_posix(), path.read_bytes() if path.is_file() else b""


def _is_editable(name: str) -> bool:
    return name.endswith(".pth") or name.startswith("__editable__")


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
