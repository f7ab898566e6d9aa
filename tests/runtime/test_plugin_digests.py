"""Digests of installed distributions: equal for the same build, different for any change of behaviour."""

from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from writ_runtime.plugins.digests import distribution_digest

RECORD = """acme/__init__.py,sha256=x,0
acme/backend.py,sha256=x,9
acme/__pycache__/backend.cpython-311.pyc,,
../../bin/acme,sha256=x,3
acme-1.0.dist-info/METADATA,sha256=x,5
acme-1.0.dist-info/RECORD,,
acme-1.0.dist-info/INSTALLER,sha256=x,4
"""


def installed(site: Path, *, by: str = "pip", code: str = "x = 1\n", record: str = RECORD) -> Distribution:
    """A distribution as an installer leaves it."""
    package, info = site / "acme", site / "acme-1.0.dist-info"
    for folder in (package / "__pycache__", info):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "backend.py").write_text(code)
    (package / "__pycache__" / "backend.cpython-311.pyc").write_bytes(by.encode())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "INSTALLER").write_text(by)
    (info / "RECORD").write_text(record.replace("sha256=x,3", f"sha256={by},3"))
    (info / "entry_points.txt").write_text("[writ.plugin]\nacme = acme.backend:PLUGIN\n")
    return PathDistribution(info)


def test_the_digest_of_one_build_is_the_same_everywhere(tmp_path: Path) -> None:
    here, there = installed(tmp_path / "a"), installed(tmp_path / "b", by="uv")
    assert distribution_digest(here, ["acme.backend"]) == distribution_digest(there, ["acme.backend"])


def test_the_digest_changes_with_the_code_its_metadata_and_a_lost_file(tmp_path: Path) -> None:
    one = installed(tmp_path / "a")
    digests = {distribution_digest(one, ["acme.backend"])}
    code, metadata = tmp_path / "a/acme/backend.py", tmp_path / "a/acme-1.0.dist-info/METADATA"
    code.write_text("x = 2\n")
    digests.add(distribution_digest(one, ["acme.backend"]))
    metadata.write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.1\n")
    digests.add(distribution_digest(one, ["acme.backend"]))
    code.unlink()
    digests.add(distribution_digest(one, ["acme.backend"]))
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("record", "origin"),
    [
        ("", None),
        ("_acme.pth,sha256=x,1\nacme-1.0.dist-info/RECORD,,\n", '{"dir_info":{"editable":true},"url":"file:///x"}'),
    ],
    ids=["folder", "editable"],
)
def test_an_editable_installation_has_the_digest_of_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str, origin: str | None
) -> None:
    one = installed(tmp_path, record=record)
    if origin is not None:
        (tmp_path / "acme-1.0.dist-info" / "direct_url.json").write_text(origin)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = distribution_digest(one, ["acme.backend"])
    (tmp_path / "_acme.pth").write_text("/another/place")
    assert distribution_digest(one, ["acme.backend"]) == before
    (tmp_path / "acme" / "backend.py").write_text("x = 2\n")
    assert distribution_digest(one, ["acme.backend"]) != before


FORGED = '{"dir_info":{"editable":true},"url":"file:///acme"}'


@pytest.mark.parametrize("origin", [None, FORGED], ids=["index", "forged"])
@pytest.mark.parametrize(
    "line",
    ["acme.pth,sha256=x,1", "acme/extra.pyc,sha256=x,1", "acme/__pycache__/backend.cpython-311.pyc,sha256=x,1"],
    ids=["pth", "module", "cached"],
)
def test_digest_changes_with_code_that_is_no_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, origin: str | None
) -> None:
    usual = installed(tmp_path / "a")
    other = installed(tmp_path / "b", record=f"{line}\n{RECORD.replace('acme/__pycache__', 'acme/x', 1)}")
    (tmp_path / "b" / line.partition(",")[0]).write_text("import os; os.environ['WRIT'] = 'read'\n")
    if origin is not None:
        (tmp_path / "b/acme-1.0.dist-info/direct_url.json").write_text(origin)
    monkeypatch.syspath_prepend(str(tmp_path / "b"))
    assert distribution_digest(other, ["acme.backend"]) != distribution_digest(usual, ["acme.backend"])


def test_origin_that_is_no_text_is_not_editable(tmp_path: Path) -> None:
    one = installed(tmp_path, record="_acme.pth,sha256=x,1\nacme-1.0.dist-info/RECORD,,\n")
    (tmp_path / "_acme.pth").write_text("import os\n")
    without = distribution_digest(one, ["acme.backend"])
    (tmp_path / "acme-1.0.dist-info/direct_url.json").write_bytes(b"\xff")
    assert distribution_digest(one, ["acme.backend"]) == without
