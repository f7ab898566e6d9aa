"""`python -m tests.ci STEP…` (test, lab, share): run the tests as continuous integration does, and decide (flakes.py).

The steps are targets of make: `test`, `lab`, and of `test-full` a share, for as long as there is time (share.py).
Exit status 0 if what flakes.py asks for holds, else 1.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from tests.ci.flakes import MOST_FLAKY, Record, Trouble, Verdict, judge, reasons, summary
from tests.ci.share import Share

WHOLE = 40 * 60.0
"""Seconds for the whole run, of which the share gets what is left."""
AFTER_SHARE, SMALLEST_SHARE = 150.0, 120.0
"""Seconds for the last tests that the share starts, and for the share on a machine that was slow until then."""
LONGEST, STOP_SECONDS = 85 * 60.0, 60.0
"""Seconds after which the run is ended, so that it still says what it found, and for what runs then to clean up."""
FLAKY = Path("tests/flaky.toml")


class Step(NamedTuple):
    """One target of make, with the variable for pytest's arguments."""

    name: str
    target: str
    variable: str


STEPS = {
    "test": Step("make test", "test", "PYTEST_ARGS"),
    "lab": Step("make lab", "lab", "LAB_ARGS"),
    "share": Step("a share of make test-full", "test-full", "PYTEST_ARGS"),
}


class Runner:
    """Runs steps, and failed tests once more."""

    def __init__(self, folder: Path, started: float, share: float | None) -> None:
        """`started`: the start of the whole run. `share`: seconds for the share, or None for the rest of WHOLE."""
        self._folder = folder
        self._started = started
        self._seconds = share
        self._verdicts: list[Verdict] = []

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """Return one verdict for each step taken."""
        return self._verdicts

    def take(self, step: Step) -> None:
        self._tell(step.name)
        status, record = self._make(step, share_arguments(self._share()) if step.target == "test-full" else None)
        self._verdicts.append(self._judge(step, status, record))

    def _judge(self, step: Step, status: int, record: Record | None) -> Verdict:
        if record is None or (status and record.exit_status == 0):
            return Verdict(step=step.name, broken=(f"it ended with status {status}, and not by a test",))
        whole = step.target != "test-full"
        if not whole:
            print(f"no time was left for {record.missing} of {record.chosen} tests", flush=True)
        room = MOST_FLAKY - sum(len(verdict.flaky) for verdict in self._verdicts)
        return judge(step.name, record, lambda trouble: self._passes_alone(step, trouble), room, whole=whole)

    def _passes_alone(self, step: Step, trouble: Trouble) -> bool:
        self._tell(f"once more, alone: {trouble.tests[0]}")
        arguments = self._folder / "alone"
        # -c: a folder of tests may have a pytest configuration of its own, which a single path would choose.
        config = ["-c", "pyproject.toml"] if Path("pyproject.toml").exists() else []
        arguments.write_text("\n".join(["-n", "0", *config, *trouble.tests]))
        status, record = self._make(step, f"@{arguments}")
        return status == 0 and record is not None and record.passed == len(trouble.tests)

    def _make(self, step: Step, arguments: str | None) -> tuple[int, Record | None]:
        """Return make's exit status, and pytest's record if pytest wrote one."""
        path = self._folder / "record"
        path.unlink(missing_ok=True)
        options = f"{os.environ.get('PYTEST_ADDOPTS', '')} -p tests.ci.recorder --record={path}"
        command = ["make", step.target, *([f"{step.variable}={arguments}"] if arguments else [])]
        left = LONGEST - (time.monotonic() - self._started)
        status = run(command, {**os.environ, "PYTEST_ADDOPTS": options}, max(1.0, left))
        return status, msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else None

    def _share(self) -> Path:
        now = time.monotonic()
        left = WHOLE - AFTER_SHARE - (now - self._started)
        seconds = max(SMALLEST_SHARE, left) if self._seconds is None else self._seconds
        share = Share(changed=changed(), seed=git("rev-parse", "HEAD"), until=now + seconds)
        print(f"for {seconds:.0f} s; first what these touch: {', '.join(share.changed) or 'nothing'}", flush=True)
        path = self._folder / "share"
        path.write_bytes(msgspec.json.encode(share))
        return path

    def _tell(self, words: str) -> None:
        print(f"\n[{time.monotonic() - self._started:4.0f} s] {words}", flush=True)


def share_arguments(path: Path) -> str:
    """Return pytest's arguments for a share. Without `=` pytest takes the file for tests, its folder for the root."""
    return (
        f"-m 'exhaustive and not lab' -n auto --dist loadfile --no-loadscope-reorder -p tests.ci.share --share={path}"
    )


def run(command: Sequence[str], environ: dict[str, str], seconds: float) -> int:
    """Return the exit status of a command; end it and its children after the time limit."""
    with subprocess.Popen(command, env=environ, start_new_session=True) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"error: {command[:2]} did not end within {seconds:.0f} s", flush=True)
            return end(process)
        except BaseException:
            end(process)
            raise


def end(process: subprocess.Popen[bytes]) -> int:
    """End its process group, in order if that works."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def changed() -> tuple[str, ...]:
    """Return the paths that differ from the start of this branch, or else from the previous commit."""
    head = git("rev-parse", "HEAD")
    bases = (git("merge-base", "HEAD", "origin/HEAD"), git("rev-parse", "--verify", "HEAD~1"))
    base = next((one for one in bases if one not in {"", head}), "")
    return tuple(git("diff", "--name-only", base, "HEAD").splitlines()) if base else ()


def git(*arguments: str) -> str:
    """Return git's output, or nothing: a clone may be shallow, and a folder may be no clone."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ci")
    parser.add_argument("steps", nargs="+", choices=STEPS)
    parser.add_argument("--elapsed", type=float, default=0.0, help="seconds since the whole run began")
    parser.add_argument("--share-seconds", type=float, help="how long the share starts tests (else: what is left)")
    parser.add_argument("--report", type=Path, help="also write here what failed")
    arguments = parser.parse_args()
    listed = tomllib.loads(FLAKY.read_text())
    with tempfile.TemporaryDirectory(prefix="writ-ci-") as folder:
        runner = Runner(Path(folder), time.monotonic() - arguments.elapsed, arguments.share_seconds)
        for name in arguments.steps:
            runner.take(STEPS[name])
            if runner.verdicts[-1].broken:
                break
    report = summary(runner.verdicts, listed)
    print(report, flush=True)
    if arguments.report is not None:
        arguments.report.write_text(report + "\n")
    return 1 if reasons(runner.verdicts, listed) else 0


if __name__ == "__main__":
    sys.exit(main())
