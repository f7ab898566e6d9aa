"""Lists as a service reads them: a large one in another process, with nothing lost on the way."""

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from writ_contracts.inventory import Inventory
from writ_documents import readers
from writ_documents.document import FileErrors
from writ_runtime import subprocess_env
from writ_runtime.list_reader import lists

TARGETS = 2_000
ENTRY = """\
- id: web-{number}
  role: production
  backend: ssh
  tags: [web, eu]
  attributes: {{criticality: high, weight: {number}, share: 0.5, drained: no}}
  connection: {{host: web-{number}.internal, port: 22, options: {{keepalive: 30, jump: [a, ~]}}}}
  file_roots: [/srv/app, {{path: /etc, allow_system_root: true}}]
"""
BAD = "- {id: web 1, role: prodution, backend: ssh, tgas: []}\n"


def inventory(folder: Path, *more: str, number: int = TARGETS) -> Path:
    path = folder / "inventory.yaml"
    path.write_text("targets:\n" + "".join(ENTRY.format(number=at) for at in range(number)) + "".join(more))
    return path


def one_more(*_: object, **__: object) -> None:
    raise AssertionError("it took a process")


def test_large_list_read_by_a_process_equals_the_list_read_here(tmp_path: Path) -> None:
    path = inventory(tmp_path)
    assert path.stat().st_size > lists.SMALL
    assert lists.ListReader(lists.TARGETS)(path) == readers.read_inventory(path)


def test_principals_and_agents_are_read_by_a_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "SMALL", 0)
    people, agents = tmp_path / "principals.yaml", tmp_path / "agents.yaml"
    people.write_text(f"principals: [{{id: alice, kind: human, key: U{'A' * 55}}}]")
    agents.write_text(f"agents: [{{pool: ssh, key: U{'A' * 55}}}]")
    assert lists.ListReader(lists.PRINCIPALS)(people) == readers.read_principals(people)
    assert lists.ListReader(lists.AGENTS)(agents) == readers.read_agents(agents)


def test_the_mistakes_of_a_large_list_have_their_places_and_their_lines(tmp_path: Path) -> None:
    path = inventory(tmp_path, BAD, ENTRY.format(number=7))
    with pytest.raises(FileErrors) as here:
        readers.read_inventory(path)
    with pytest.raises(FileErrors) as beside:
        lists.ListReader(lists.TARGETS)(path)
    assert beside.value.found == here.value.found
    assert f"{path}:{7 * TARGETS + 2}:8: " in str(here.value)


@pytest.mark.parametrize("more", ["- [unclosed", "- *alias", "- {id: \x01}", "\n" + "- {id: {}}\n" * 300])
def test_unreadable_file_has_the_same_error_as_in_process(tmp_path: Path, more: str) -> None:
    path = inventory(tmp_path, more)
    errors: list[FileErrors] = []
    for read in (readers.read_inventory, lists.ListReader(lists.TARGETS)):
        with pytest.raises(FileErrors) as caught:
            read(path)
        errors.append(caught.value)
    assert errors[0].found == errors[1].found
    assert errors[0].problems == errors[1].problems


def test_missing_or_oversized_file_has_the_same_error_as_in_process(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    with pytest.raises(FileErrors, match="No such file"):
        lists.ListReader(lists.TARGETS)(path)
    path.write_bytes(b" " * (readers.LARGEST_LIST + 1))
    with pytest.raises(FileErrors, match="is larger than"):
        lists.ListReader(lists.TARGETS)(path)


def test_a_small_list_takes_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", one_more)
    assert len(lists.ListReader(lists.TARGETS)(inventory(tmp_path, number=3)).targets) == 3


def test_reading_takes_hardly_more_memory_than_what_is_read(tmp_path: Path) -> None:
    """The count covers all of Python's allocations, and includes nothing of the text or its tree."""
    path = inventory(tmp_path)
    here, beside = needed(readers.read_inventory, path), needed(first_reading, path)
    assert beside < 1.3
    assert here > 2  # or the measure is none


def test_entries_that_have_not_changed_stay_the_objects_they_were(tmp_path: Path) -> None:
    path, read = inventory(tmp_path), lists.ListReader(lists.TARGETS)
    before = read(path).targets
    edited = path.read_text().replace("weight: 7, ", "weight: 7.0, ").replace("id: web-9\n", "id: web-nine\n")
    path.write_text(ENTRY.format(number=TARGETS).join(["targets:\n", edited.removeprefix("targets:\n")]))
    after = read(path).targets
    assert after == readers.read_inventory(path).targets
    assert type(after[8].attributes["weight"]) is float
    assert [number for number, entry in enumerate(after) if entry not in before] == [0, 10]
    assert [number for number, entry in enumerate(after[1:]) if entry is not before[number]] == [7, 9]


def test_reading_again_takes_a_fraction_of_the_memory_of_the_list(tmp_path: Path) -> None:
    path, read = inventory(tmp_path), lists.ListReader(lists.TARGETS)
    tracemalloc.start()
    try:
        kept = read(path)
        whole, _ = tracemalloc.get_traced_memory()
        kept = read(path)
        stays, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept.targets) == TARGETS
    assert stays < 1.2 * whole


def first_reading(path: Path) -> Inventory:
    return lists.ListReader(lists.TARGETS)(path)


def needed(read: Callable[[Path], Inventory], path: Path) -> float:
    """Return the peak beyond the retained memory."""
    read(path)  # what is imported and cached at the first time
    tracemalloc.start()
    try:
        kept = read(path)
        stays, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.targets
    return peak / stays


@pytest.mark.parametrize(
    "command",
    [
        ("/nowhere/python",),
        (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"),
        (sys.executable, "-c", "import signal; signal.pause()"),
        (sys.executable, "-c", ""),
        (sys.executable, "-c", "print(end='half')"),
        (sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'\\x91\\x81\\xa3new\\x01')"),
    ],
    ids=["that does not start", "that is killed", "that stands still", "mute", "cut off", "of another version"],
)
def test_list_is_read_here_if_its_process_fails(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(subprocess_env, "command", lambda *_: command)
    monkeypatch.setattr(lists, "SECONDS", 0.3)
    assert len(lists.ListReader(lists.TARGETS)(inventory(tmp_path)).targets) == TARGETS
    assert [record.getMessage() for record in caplog.records] == ["file.read_here"]


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = inventory(tmp_path)
    gc.collect()  # what others left open is closed before it is counted
    before = len(os.listdir("/proc/self/fd"))
    lists.ListReader(lists.TARGETS)(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_process_gets_none_of_the_services_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = tmp_path / "told"
    code = f"import json, os, pathlib; pathlib.Path({str(dump)!r}).write_text(json.dumps(dict(os.environ)))"
    monkeypatch.setattr(subprocess_env, "command", lambda *_: (sys.executable, "-c", f"{code}; raise SystemExit(1)"))
    monkeypatch.setenv("WRIT_KEY_FILE", "keys/policy.seed")
    monkeypatch.setenv("TZ", "UTC")
    lists.ListReader(lists.TARGETS)(inventory(tmp_path))
    known = json.loads(dump.read_text())
    assert known["TZ"] == "UTC"
    assert not [name for name in known if name.startswith(("WRIT", "NATS", "CREDENTIALS"))]
