"""One scan of one target in a process of its own, so a hanging scanner can be killed.

The parent writes a `ScanJob` to the child's standard input, and reads a `ScanResult`. Whatever else the scanner prints
goes to standard error.
"""

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec
from msgspec import Struct

from writ_contracts.errors import ConfigError, Invalid, TimedOut, WritError
from writ_contracts.policy.facts import MOST_REPORT_BYTES, Finding
from writ_runtime.plugins.entry_points import load_scanners


class ScanJob(Struct, frozen=True, kw_only=True):
    """`options`: the scanner's own, as JSON has them."""

    scanner: str
    target: str
    options: dict[str, Any] = {}


class ScanResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The findings, or the error for which there are none."""

    findings: list[Finding] = []
    error: str = ""


async def scan(scanner: str, target: str, options: Struct, *, seconds: float) -> list[Finding]:
    """Return the findings on the target. Raises Invalid with the scanner's error, and TimedOut after `seconds`.

    The scanner's process and its children have ended in every case.
    """
    job = ScanJob(scanner=scanner, target=target, options=msgspec.to_builtins(options))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(msgspec.json.encode(job))
    except TimeoutError:
        raise TimedOut(f"the scanner took more than {seconds:g} s") from None
    finally:
        await _end(process)
    return _findings(output, process.returncode)


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # children of the scanner may outlive it
    except ProcessLookupError:
        return
    await process.wait()


def _findings(output: bytes, status: int | None) -> list[Finding]:
    if len(output) > MOST_REPORT_BYTES:
        raise Invalid(f"the scanner's findings exceed {MOST_REPORT_BYTES} bytes")
    try:
        result = msgspec.json.decode(output, type=ScanResult)
    except msgspec.DecodeError as error:
        raise Invalid(f"the scanner's process ended with status {status} and without findings") from error
    if result.error:
        raise Invalid(result.error)
    return result.findings


def run(job: ScanJob) -> ScanResult:
    """Carry out a job in this process."""
    try:
        scanner = load_scanners()[job.scanner]
        options = msgspec.convert(job.options, scanner.options)
        return ScanResult(findings=list(scanner.scan(job.target, options)))
    except (WritError, ConfigError) as error:
        return ScanResult(error=str(error))


def main() -> None:
    """Read the job from standard input, and write the result to the original standard output."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=ScanJob)
    with results:
        results.write(msgspec.json.encode(run(job)))


if __name__ == "__main__":
    main()
