"""A whole installation for a test: `writ up` on free ports in a folder of its own, with real processes, and gone after.

async with running_installation(tmp_path, executors=2, environ={"WRIT_LEASE": "1"}) as installation:
    async with await installation.client() as writ:
        done = await writ.run("test_noop", "web-1")
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from writ_client.client import Writ
from writ_documents import yaml_file
from writ_installation.files import list_edits
from writ_installation.files.create import add_missing_pools, create_installation
from writ_installation.files.home import Home, host_token
from writ_installation.processes.child import tie
from writ_installation.processes.report import InstallationReport, read_report
from writ_installation.server_access.server_tls import pinned_ca
from writ_installation.status.control import DOWN_WITHIN
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.installations.commands import WritResult, run_command, start_command
from writ_testing.installations.forked_process import FORKS, ForkedProcess
from writ_testing.search import contents

WRIT = Path(sys.executable).with_name("writ")
START_SECONDS = 60.0
COMMAND_SECONDS = 240.0
"""`writ restart` of eight services on three NATS servers took more than 90 s on a machine with other work."""


class RunningInstallation:
    """A running installation, with the actions of tests."""

    def __init__(
        self,
        home: Home,
        environ: Mapping[str, str],
        arguments: Sequence[str],
        cwd: Path | None = None,
        command: Path | None = None,
    ) -> None:
        """`command`: the `writ` to run. Without it, if `FORKS` is set, `writ up` and its services are forked from a
        process that has loaded their modules, unless `environ` has variables that Python reads at its start.
        """
        self.home = home
        self._cwd = cwd
        self._command = command
        self._environ = {**os.environ, **environ, "WRIT_HOME": str(home.root)}
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | ForkedProcess | None = None

    async def start(self) -> None:
        """Run `writ up` until it is ready. Raises AssertionError with its last output otherwise."""
        self.output = self.home.log / "up.log"
        with self.output.open("ab") as output:
            self._process = await self._start(["up", "--nats-port", "0", *self._arguments], output)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._until_ready(self._process)
        except TimeoutError:
            raise AssertionError(f"not ready in {START_SECONDS:g} s: {self.output.read_text()[-2000:]}") from None

    async def _start(self, arguments: Sequence[str], output: IO[bytes]) -> asyncio.subprocess.Process | ForkedProcess:
        if self._command is None and os.environ.get(FORKS):
            forked = await start_command(arguments, self._environ, output, self._cwd)
            if forked is not None:
                return forked
        return await asyncio.create_subprocess_exec(
            *(*tie(), str(self._command or WRIT), *arguments),
            env=self._environ,
            cwd=self._cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    async def _until_ready(self, process: asyncio.subprocess.Process | ForkedProcess) -> None:
        while process.returncode is None:
            report = read_report(self.home.report_file)
            if report is not None and report.state == "ready" and report.pid == process.pid:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"writ up ended with {process.returncode}: {self.output.read_text()[-2000:]}")

    async def stop(self) -> None:
        """Stop as Ctrl-C does; kill after a while."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), DOWN_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"writ up did not stop: {self.output.read_text()[-2000:]}") from None

    @property
    def report(self) -> InstallationReport:
        """Return the supervisor's present report."""
        report = read_report(self.home.report_file)
        assert report is not None
        return report

    @property
    def url(self) -> str:
        """Return the address of NATS."""
        return self.report.url

    def pid(self, name: str) -> int | None:
        """Return the pid of this process, if it runs."""
        return next((one.pid for one in self.report.processes if one.name == name), None)

    def kill(self, name: str) -> int:
        """Send SIGKILL to that process, which the supervisor starts again. Return its old pid."""
        pid = self.pid(name)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    @contextmanager
    def paused(self, prefix: str) -> Iterator[None]:
        """Stop the processes with this name prefix (SIGSTOP) within the block."""
        pids = [one.pid for one in self.report.processes if one.name.startswith(prefix) and one.pid is not None]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):  # it was killed within the block
                    os.kill(pid, signal.SIGCONT)

    async def until(self, name: str, *, other_than: int | None = None, within: float = START_SECONDS) -> int:
        """Return the pid of that process once it is ready (and differs from `other_than`)."""
        async with asyncio.timeout(within):
            while True:
                for one in self.report.processes:
                    if one.name == name and one.state == "ready" and one.pid not in (None, other_than):
                        return int(one.pid or 0)
                await asyncio.sleep(0.05)

    async def client(self, principal: str = "operator", *, wait: float = 10.0) -> Writ:
        return await Writ.connect(
            self.url,
            seed=self.home.seed_file(f"principal-{principal}").read_bytes(),
            principal=principal,
            installation=self.home.installation,
            tls_ca=pinned_ca(self.home) or None,
            wait=wait,
        )

    def logs(self) -> str:
        """Return the logs of all services."""
        return "\n".join(contents(path).decode(errors="replace") for path in sorted(self.home.log.iterdir()))

    async def writ(self, *arguments: str, environ: Mapping[str, str] | None = None, stdin: bytes = b"") -> WritResult:
        """Run the `writ` command in this home."""
        return await asyncio.wait_for(
            run_command(arguments, {**self._environ, **(environ or {})}, stdin), COMMAND_SECONDS
        )

    async def json(self, *arguments: str, by: str = "operator", status: int = 0) -> Any:
        """Return what `writ … -o json` prints for a principal, or None; assert its exit status."""
        ended = await self.writ(*arguments, "-o", "json", environ={"WRIT_PRINCIPAL": by})
        assert ended.status == status, ended
        return json.loads(ended.out) if ended.out.strip() else None


def open_policy(*rules: Mapping[str, Any]) -> str:
    """Return a policy that allows every operation on targets, with additional `rules`."""
    names = [name for name, operation in load_catalogue().items() if not operation.control]
    everything = {"name": "tests_may", "operations": names, "allowed": True}
    policy = {
        "version": "v2",
        "name": "everything in a test",
        "deny_by_default": True,
        "enable_dry_run": True,
        "require_approval_for_admin": False,
        "global_policies": [everything, *map(dict, rules)],
    }
    return yaml_file.dump({"policies": policy})


def local_target(target_id: str, root: Path, **more: Any) -> dict[str, Any]:
    """Return an inventory entry for this machine (or `connection.host`), with one folder for files."""
    entry: dict[str, Any] = {
        "id": target_id,
        "role": "development",
        "backend": "local",
        "connection": {"host": host_token()},
        "file_roots": [{"path": str(root), "allow_system_root": True}],
    }
    return {**entry, **more}


def prepare(
    folder: Path,
    *,
    targets: Sequence[Mapping[str, Any]] | None = None,
    policy: str | None = None,
    principals: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> Home:
    """Create a home with keys, these targets (default: `web-1`, this machine) and principals besides `operator`."""
    home = Home(folder / "home")
    home.make_folders()
    root = folder / "files"
    root.mkdir(exist_ok=True)
    entries = list(targets) if targets is not None else [local_target("web-1", root)]
    home.policy.write_text(policy if policy is not None else open_policy())
    home.inventory.write_text(yaml_file.dump({"targets": [dict(entry) for entry in entries]}))
    create_installation(home)
    for name, facts in principals:
        key = home.make_key(f"principal-{name}").public
        entry = {"id": name, "kind": "human", "roles": ["operator"], "key": key, **facts}
        list_edits.append(home.principals, "principals", entry, unique="id")
    add_missing_pools(home)
    return home


@asynccontextmanager
async def running_installation(
    folder: Path,
    *,
    executors: int = 1,
    environ: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    home: Home | None = None,
    cwd: Path | None = None,
    command: Path | None = None,
    **prepared: Any,
) -> AsyncIterator[RunningInstallation]:
    """Yield an installation running within the block."""
    made = home or prepare(folder, **prepared)
    installation = RunningInstallation(made, environ or {}, ["--executors", str(executors), *arguments], cwd, command)
    try:
        await installation.start()
        yield installation
    finally:
        await installation.stop()
