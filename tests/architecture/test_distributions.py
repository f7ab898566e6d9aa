"""`make dist`: the same tree gives the same bytes, and the wheel can be built from the source archive."""

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from deploy.build_distributions import build, main, run_hatchling
from deploy.distributions import distributions, holder_of, readme, version
from tests.architecture.tree import ROOT

pytestmark = pytest.mark.timeout(300)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    main([str(folder)])
    return folder


def test_a_wheel_and_a_source_archive_of_each_is_built(dist: Path) -> None:
    ends = ("-py3-none-any.whl", ".tar.gz")
    assert set(digests(dist)) == {f"{one.stem}-{version()}{end}" for one in distributions().values() for end in ends}


def test_the_same_tree_gives_the_same_bytes_whatever_the_hour_and_the_mask(dist: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.build_distributions", str(tmp_path)]
    before = os.umask(0o077)
    try:
        subprocess.run(command, cwd=ROOT, check=True, timeout=120, env={**os.environ, "TZ": "Asia/Tokyo"})
    finally:
        os.umask(before)
    assert digests(tmp_path) == digests(dist)


def test_a_source_archive_holds_all_that_its_wheel_is_built_from(dist: Path, tmp_path: Path) -> None:
    for archive in dist.glob("*.tar.gz"):
        with tarfile.open(archive) as packed:
            packed.extractall(tmp_path, filter="data")
        run_hatchling(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "wheels", ["wheel"])
    wheels = {name: digest for name, digest in digests(dist).items() if name.endswith(".whl")}
    assert digests(tmp_path / "wheels") == wheels


def test_files_outside_the_tree_get_into_neither_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "writ_proof"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Proof."""\n')
    (package / "__pycache__" / "old.pyc").write_bytes(b"")
    (package / ".secret").write_text("seed")
    monkeypatch.setattr("deploy.build_distributions.source_of", lambda name: package)
    build([distributions()["writops-proof"]], tmp_path / "out")
    with tarfile.open(tmp_path / "out" / f"writops_proof-{version()}.tar.gz") as packed:
        names = {Path(name).name for name in packed.getnames()}
    assert names == {"__init__.py", "pyproject.toml", "README.md", "LICENSE", "PKG-INFO"}


def test_distribution_that_cannot_be_built_is_named_with_the_reason(tmp_path: Path) -> None:
    stage = tmp_path / "unnamed"
    stage.mkdir()
    (stage / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(SystemExit, match=r"^unnamed cannot be built: (?s:.)*project\.version"):
        run_hatchling(stage, tmp_path, ["wheel"])


def test_distribution_of_a_package_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--holding", "agent_ssh"])
    assert capsys.readouterr().out == "writops-agent-ssh\n"
    with pytest.raises(LookupError, match="no distribution holds writ_testing"):
        holder_of("writ_testing")


def test_a_readme_names_the_packages_of_its_distribution() -> None:
    for distribution in distributions().values():
        text = readme(distribution)
        assert text.startswith(f"# {distribution.name}\n")
        assert [name for name in distribution.imports if f"- `{name}`: " not in text] == []
