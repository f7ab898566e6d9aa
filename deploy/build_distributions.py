"""Build wheels and source archives of all distributions: `python -m deploy.build_distributions FOLDER`.

Each is built from a stage, a folder with copies of its packages and a pyproject.toml and README of its own. A stage is
exactly what its source archive holds, so whoever has that archive can build the same wheel. The same tree gives the
same bytes; nothing is fetched.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from deploy.distributions import ROOT, Distribution, distributions, holder_of, pyproject, readme, source_of

KINDS = ("wheel", "sdist")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
BUILD_SECONDS = 60


def build(chosen: Iterable[Distribution], folder: Path, kinds: Sequence[str] = KINDS) -> None:
    """Build these into the folder, where files of the same names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="writ-stage-") as temporary:
        for distribution in chosen:
            stage = Path(temporary) / distribution.name
            make_stage(distribution, stage)
            run_hatchling(stage, folder, kinds)


def make_stage(distribution: Distribution, stage: Path) -> None:
    """Make the folder that a distribution is built from."""
    stage.mkdir()
    for package in distribution.imports:
        shutil.copytree(source_of(package), stage / package, ignore=LEFT_OUT)
    (stage / "pyproject.toml").write_text(pyproject(distribution))
    (stage / "README.md").write_text(readme(distribution))
    shutil.copy(ROOT / "LICENSE", stage)


def run_hatchling(stage: Path, folder: Path, kinds: Sequence[str]) -> None:
    """Build what is in the stage. Exits with what hatchling says if it cannot."""
    targets = [word for kind in kinds for word in ("-t", kind)]
    command = [sys.executable, "-P", "-m", "hatchling", "build", *targets, "-d", str(folder.absolute())]
    done = subprocess.run(command, cwd=stage, check=False, timeout=BUILD_SECONDS, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{stage.name} cannot be built: {done.stdout}{done.stderr}")


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="deploy.build_distributions", description="Build what is shipped.")
    parser.add_argument("--wheels", action="store_true", help="wheels alone, no source archives")
    parser.add_argument("--holding", metavar="PACKAGE", help="only print which distribution holds writ_PACKAGE")
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist", help="default: dist/ of the tree")
    options = parser.parse_args(arguments)
    if options.holding:
        print(holder_of(f"writ_{options.holding}").name)
    else:
        build(distributions().values(), options.folder, KINDS[:1] if options.wheels else KINDS)


if __name__ == "__main__":
    main(sys.argv[1:])
