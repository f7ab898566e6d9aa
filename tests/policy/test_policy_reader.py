"""Policies as a service compiles them: large ones with the help of another process, with nothing lost on the way."""

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.rules.asking import CATALOGUE

from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_rules import policy_reader
from writ_rules.engine.compile import Policy
from writ_rules.loading import Mode, compile_document, compile_proposal
from writ_rules.policy_reader import CompiledPolicy, PolicyReader
from writ_rules.prepared import prepared
from writ_runtime import subprocess_env
from writ_runtime.short_process import run_once
from writ_trust.digests import plain_digest

RULES = 800
RULE = """\
  - name: rule-{number}
    operations: [service_restart]
    allowed: true
    user_roles: [team-{number}]
    targets: [app{number}-*]
    parameter_constraints: {{service_name: {{pattern: 'app{number}-[a-z]+', max_length: 40}}}}
"""
BAD = "  - {name: bad, operations: [service_burn], alowed: true}\n"


def text(*more: str, number: int = RULES) -> bytes:
    rules = "".join(RULE.format(number=at) for at in range(number))
    return ("policies:\n  name: large\n  global_policies:\n" + rules + "".join(more)).encode()


def no_process(*_: object, **__: object) -> Any:
    raise AssertionError("it took a process")


def not_here(*_: object, **__: object) -> None:
    raise AssertionError("it was compiled here")


def compiled_here(data: bytes) -> Policy:
    return compile_document(yaml_file.parse(data, "p.yaml"), CATALOGUE, "permissive")[0]


def read(data: bytes, mode: Any = "permissive", *, compared: bool = False) -> CompiledPolicy:
    return reader(mode, not_here)(data, "p.yaml", compared=compared)


def reader(mode: Mode, on_failure: Callable[[str, Exception], None]) -> PolicyReader:
    return PolicyReader(CATALOGUE, mode, partial(run_once, "writ_policy.compiler_process"), on_failure)


def test_large_policy_is_compiled_by_a_process_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = text()
    assert len(data) > policy_reader.SMALL
    here = compiled_here(data)
    monkeypatch.setattr(policy_reader, "compile_document", not_here)
    beside, warnings = read(data)
    assert (beside.name, beside.rules, beside.file, warnings) == ("large", RULES, None, [])
    for place, rules in here.index.items():
        assert [rule.name for rule in rules] == [rule.name for rule in beside.index[place]]


@pytest.mark.parametrize("more", [BAD, "  - [unclosed", "  - *alias", "  - {name: \x01}\n", BAD * 300])
@pytest.mark.parametrize("mode", ["strict", "permissive"])
def test_mistakes_are_the_same_with_places_and_lines(more: str, mode: Any) -> None:
    data = text(more)
    with pytest.raises(FileErrors) as here:
        compile_document(yaml_file.parse(data, "p.yaml"), CATALOGUE, mode)
    with pytest.raises(FileErrors) as beside:
        read(data, mode, compared=True)
    assert beside.value.found == here.value.found
    assert beside.value.problems == here.value.problems


def test_prepared_form_of_the_document_takes_no_process_and_another_is_prepared_again() -> None:
    data, failed = text(), list[str]()
    document = yaml_file.parse(data, "p.yaml")
    known = prepared(*compile_proposal(document, CATALOGUE, "permissive"), plain_digest(data))
    read_known = PolicyReader(CATALOGUE, "permissive", no_process, lambda name, _: failed.append(name))
    made, _ = read_known(data, "same", compared=False, known=known)
    assert (made.rules, made.file, failed) == (RULES, None, [])
    other, read_again = text(number=RULES + 1), reader("permissive", lambda name, _: failed.append(name))
    made, _ = read_again(other, "other", compared=False, known=known)
    assert (made.rules, made.file, failed) == (RULES + 1, None, ["other"])


def test_warnings_of_a_proposal_are_those_of_its_version() -> None:
    data = text(RULE.format(number=7).replace("rule-7", "again").replace("true", "false"), number=10)
    document = yaml_file.parse(data, "p.yaml")
    first, warnings = compile_proposal(document, CATALOGUE, "permissive")
    second, expected = compile_document(document, CATALOGUE, "permissive", compared=False)
    assert (warnings, first.excused) == (expected, second.excused)
    assert len(compile_document(document, CATALOGUE, "permissive")[1]) > len(expected)


@pytest.mark.parametrize("compared", [True, False])
def test_warnings_are_the_same(compared: bool) -> None:
    twice = RULE.format(number=7).replace("rule-7", "again").replace("true", "false")
    data = text(twice)
    document = yaml_file.parse(data, "p.yaml")
    _, here = compile_document(document, CATALOGUE, "permissive", compared=compared)
    assert read(data, compared=compared)[1] == here
    assert bool(here) == compared


def test_small_policy_takes_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", no_process)
    assert read(text(number=10))[0].rules == 10


def test_compiling_takes_hardly_more_memory_than_the_policy() -> None:
    """The count covers all of Python's allocations, and includes nothing of the text or its tree."""
    data = text()
    here, beside = needed(compiled_here, data), needed(lambda data: read(data)[0], data)
    assert beside < 1.4
    assert here > 1.7  # or the measure is none


def needed(compiled: Callable[[bytes], Policy], data: bytes) -> float:
    """Return the peak beyond the retained memory."""
    compiled(data)  # what is imported and cached at the first time
    tracemalloc.start()
    try:
        kept = compiled(data)
        stays, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.rules
    return peak / stays


@pytest.mark.parametrize(
    "command",
    [
        ("/nowhere/python",),
        (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"),
        (sys.executable, "-c", "import signal; signal.pause()"),
        (sys.executable, "-c", ""),
        (sys.executable, "-c", "import sys; sys.stdout.buffer.write(b'\\x81\\xa3new\\x01')"),
    ],
    ids=["that does not start", "that is killed", "that stands still", "mute", "of another version"],
)
def test_policy_is_compiled_here_if_its_process_fails(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = list[str]()
    monkeypatch.setattr(subprocess_env, "command", lambda *_: command)
    monkeypatch.setattr(policy_reader, "SECONDS", 0.3)
    made, _ = reader("permissive", lambda name, _: failed.append(name))(text(), "p.yaml", compared=False)
    assert (made.rules, made.file is None, failed) == (RULES, False, ["p.yaml"])


def test_versions_leave_no_cycles_which_a_freeze_would_keep() -> None:
    def replace_version() -> None:
        read(data)
        policy_reader.return_freed_memory()

    data = text()
    with policy_reader.collection_paused():
        replace_version()  # what is made once
        replace_version()
        before = gc.get_freeze_count()
        for _ in range(10):
            replace_version()
        assert gc.get_freeze_count() - before < 10


def test_no_file_stays_open() -> None:
    data = text()
    gc.collect()  # what others left open is closed before it is counted
    before = len(os.listdir("/proc/self/fd"))
    read(data)
    assert len(os.listdir("/proc/self/fd")) == before
