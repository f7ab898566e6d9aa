"""The files of a new plugin: a backend that keeps notes in a folder, small enough to be replaced piece by piece."""

from string import Template

_PYPROJECT = """[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "writ-$name"
version = "0.1.0"
description = "The backend $name for Writ."
requires-python = ">=3.11"
dependencies = ["msgspec>=0.22,<0.23", "writops-contracts", "writops-agent"]

[project.entry-points."writ.plugin"]
$name = "writ_$name.descriptor:PLUGIN"

[project.entry-points."writ.operations"]
$name = "writ_$name.operations:OPERATIONS"

[project.entry-points."writ.backends"]
$name = "writ_$name.backend:backend"

[project.entry-points."writ.conformance"]
$name = "writ_$name.trial_host:trial_host"

[tool.hatch.build.targets.wheel]
packages = ["writ_$name"]

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
addopts = ["--import-mode=importlib"]
pythonpath = ["."]
"""

_README = """# writ-$name

A backend `$name` for Writ. As written, it keeps notes as files in a folder, which the target's inventory entry names:

```yaml
- {id: $name-1, role: testing, backend: $name, connection: {folder: /srv/notes}}
```

| file | purpose |
|---|---|
| `writ_$name/descriptor.py` | the descriptor: API version, prefix, what it serves and reads |
| `writ_$name/operations.py` | the operations: parameters, outputs, risk |
| `writ_$name/backend.py` | what carries them out |
| `writ_$name/trial_host.py` | a host on which `writ plugin check` and the tests try the backend |
| `tests/test_backend.py` | the suite that every backend of Writ passes |

Install it beside every service and command of the installation, restart them, and allow its operations in the policy.
Start its agent with `WRIT_BACKEND=$name python -m writ_agent`. It has the rights of that process; nothing confines it.
"""

_DESCRIPTOR = '''"""The descriptor of this plugin. It imports nothing that carries anything out."""

from writ_contracts.plugins import Plugin

PLUGIN = Plugin(
    api=1,  # the plugin API that this package was written for
    prefixes=("$name",),
    summary="Notes in a folder",
    serves={},  # built-in operations that the backend carries out: {"$name": ("container_start",)}
    configuration={},  # environment variables that it reads: {"WRIT_${upper}_TOKEN": "its API token"}
)
'''

_OPERATIONS = '''"""The operations of this plugin. A field without a class is secret."""

from typing import Annotated

from msgspec import Meta

from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

BACKENDS = ("$name",)
NoteName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}(?!\\n)$$"), PUBLIC]


class Put(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which note, and its text, which is secret."""

    note: NoteName
    text: Annotated[str, Meta(max_length=1000)]
    timeout: Annotated[Timeout, Meta(le=60)] = 10


class Wait(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many seconds."""

    seconds: Annotated[int, Meta(ge=1, le=600), PUBLIC] = 60
    timeout: Annotated[Timeout, Meta(le=600)] = 120


class Stored(Output, frozen=True, kw_only=True):
    """The note afterwards."""

    note: Annotated[str, PUBLIC] = ""
    size: Annotated[int, PUBLIC] = 0


class Waited(Output, frozen=True, kw_only=True):
    """Nothing."""


OPERATIONS = (
    Operation(
        name="${name}_put",
        summary="Write a note.",
        parameters=Put,
        output=Stored,
        risk=Risk.CHANGE,
        backends=BACKENDS,
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="${name}_wait",
        summary="Wait, as long operations do.",
        parameters=Wait,
        output=Waited,
        risk=Risk.CHANGE,
        backends=BACKENDS,
    ),
)
'''

_BACKEND = '''"""The backend. It trusts the task that it gets; what it says of the effect must be true."""

import asyncio
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from writ_agent.backends.coroutine import CoroutineHandler
from writ_agent.backends.port import ProbeResult, Progress, TargetTestResult, Task, TaskResult
from writ_agent.backends.target_health import TargetHealth
from writ_contracts.errors import Invalid, WritError
from writ_contracts.inventory import Target
from writ_contracts.target_tests import TargetTestStep
from writ_$name.operations import OPERATIONS


class ${class_}Backend(CoroutineHandler):
    """Notes in the folder that a target's `connection` names. A cancel ends the coroutine of an operation."""

    name = "$name"

    def __init__(self) -> None:
        super().__init__(carry_out)
        self.operations = frozenset(operation.name for operation in OPERATIONS)
        self.target_health = TargetHealth()

    async def check(self) -> str | None:
        """Needs nothing of its own host."""
        return None

    async def baseline(self, task: Task) -> dict[str, Any]:
        """Return what a probe compares with."""
        return written(task)

    async def preview(self, task: Task) -> dict[str, Any]:
        """Say what would be written; change nothing."""
        return {"would": f"write {_note(task).name}", **written(task)}

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        """Compare with the baseline; secret parameters are not known here."""
        seen = written(task)
        return ProbeResult(verdict="no_effect" if seen == dict(baseline) else "took_effect", observed=seen)

    async def test_target(self, target: Target) -> TargetTestResult:
        """Find the folder, for `writ target test`; change nothing."""
        try:
            step = TargetTestStep(name="connection", well=True, detail=str(_folder(target)))
            versions = {"python": platform.python_version()}
            found = TargetTestResult(steps=[step], versions=versions, operations=sorted(self.operations))
        except WritError as error:
            found = TargetTestResult(code=error.code, message=str(error))
        self.target_health.record(target.id, found.code)
        return found


async def carry_out(task: Task, progress: Progress) -> TaskResult:
    """Carry out one operation. Raises Invalid for what was refused before any effect."""
    match task.operation.name:
        case "${name}_put":
            return _put(task)
        case "${name}_wait":
            return await _wait(task, progress)
        case other:
            raise Invalid(f"backend $name has no {other}", code="unsupported")


def written(task: Task) -> dict[str, Any]:
    """Return which file the note is now."""
    path = _note(task)
    return {"inode": path.stat().st_ino if path.exists() else 0}


def _put(task: Task) -> TaskResult:
    path, text = _note(task), str(task.parameters["text"]).encode()
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(text)
    draft.replace(path)
    return TaskResult(outcome="succeeded", output={"note": path.name, "size": len(text)}, effect="done")


async def _wait(task: Task, progress: Progress) -> TaskResult:
    mark = _folder(task.target) / f".{task.operation_id}"
    mark.touch()
    try:
        progress("waits")
        await asyncio.sleep(float(task.parameters["seconds"]))
    except asyncio.CancelledError:
        return TaskResult(outcome="cancelled", code="cancelled", message="it was stopped", effect="none")
    finally:
        mark.unlink()
    return TaskResult(outcome="succeeded", effect="done")


def _note(task: Task) -> Path:
    return _folder(task.target) / str(task.parameters["note"])


def _folder(target: Target) -> Path:
    folder = Path(str(target.connection.get("folder", "")))
    if not folder.is_absolute() or not folder.is_dir():
        raise Invalid(f"target {target.id}: connection.folder is no folder here", code="invalid_connection")
    return folder


def backend() -> ${class_}Backend:
    """Make the backend; what it reads from its environment, it reads here."""
    return ${class_}Backend()
'''

_TRIAL_HOST = '''"""A host on which the suite of backends tries this one: a folder. It needs a source tree of Writ."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from writ_agent.backends.port import Task, TaskResult
from writ_$name.backend import backend
from writ_$name.operations import OPERATIONS
from writ_contracts.inventory import Target
from writ_testing.suites.backend import task
from writ_testing.suites.host_cases import HostCase

PUT, WAIT = OPERATIONS


class TrialHost:
    """The backend, and a folder to try it on."""

    def __init__(self, folder: Path) -> None:
        self.backend, self.folder = backend(), folder
        self.target = Target(id="one", role="testing", backend="$name", connection={"folder": str(folder)})

    def change(self, operation_id: str) -> Task:
        return task(PUT, self.target, operation_id, note="note", text="secret words")

    def slow(self, operation_id: str) -> Task:
        return task(WAIT, self.target, operation_id)

    def refused(self, operation_id: str) -> Task:
        nowhere = Target(id="two", role="testing", backend="$name", connection={"folder": "/nowhere"})
        return task(PUT, nowhere, operation_id, note="note", text="x")

    async def changed(self, operation_id: str) -> bool:
        return (self.folder / "note").exists()

    async def busy(self, operation_id: str) -> bool:
        return (self.folder / f".{operation_id}").exists()

    def host_cases(self) -> Iterator[HostCase]:
        async def there(done: TaskResult | None) -> bool:
            return (self.folder / "note").exists()

        async def over(done: TaskResult | None) -> bool:
            return done is not None

        yield HostCase(self.change("put"), there)
        yield HostCase(task(WAIT, self.target, "wait", seconds=1), over)

    @property
    def elsewhere(self) -> set[str]:
        return set()


@contextmanager
def trial_host(folder: Path) -> Iterator[TrialHost]:
    """Yield the host; the folder is empty, and removed afterwards."""
    yield TrialHost(folder)
'''

_TEST = '''"""The backend keeps the promises of its port: the suite of Writ, on a folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from writ_$name.trial_host import TrialHost, trial_host
from writ_testing.suites.backend import BackendSuite


@pytest.fixture
def host(tmp_path: Path) -> Iterator[TrialHost]:
    with trial_host(tmp_path) as one:
        yield one


class TestBackend(BackendSuite):
    """The suite."""
'''

_INIT = '"""The backend $name for Writ."""\n'


def files_of(name: str) -> dict[str, str]:
    """Return the files of a plugin of that name, by their paths."""
    words = {"name": name, "upper": name.upper(), "class_": name.capitalize()}
    texts = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        f"writ_{name}/__init__.py": _INIT,
        f"writ_{name}/descriptor.py": _DESCRIPTOR,
        f"writ_{name}/operations.py": _OPERATIONS,
        f"writ_{name}/backend.py": _BACKEND,
        f"writ_{name}/trial_host.py": _TRIAL_HOST,
        "tests/test_backend.py": _TEST,
    }
    return {path: Template(text).substitute(words) for path, text in texts.items()}
