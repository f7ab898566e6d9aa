"""Hostile policy files: each is refused with a reason, within limits of time and memory.

A process of their own loads them; the kernel ends it above its limits.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.rules.asking import refused

pytestmark = [pytest.mark.xdist_group("hostile files"), pytest.mark.timeout(300)]
SECONDS = 60
MEMORY = 1_500_000_000
FULL = 4_150_000  # bytes, a little below the limit
HEAD = "policies:\n  global_policies:\n"


def _rule(keys: str, name: str = "a") -> str:
    return f"  - {{name: {name}, operations: [service_restart], allowed: true, {keys}}}\n"


def _often(text: str, size: int = FULL, between: str = ", ") -> str:
    return between.join([text] * (size // len(text + between)))


LEVELS = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
]
HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "alias": ("a: &a [x]\nb: *a", "aliases"),
    "alias of a scalar": ("a: &a x\nb: *a", "aliases"),
    "an alias to what holds it": ("&a [*a]", "aliases"),
    "billion laughs": ("\n".join(LEVELS), "aliases"),
    "ten megabytes": (_often("a", 10_000_000), "larger than"),
    "ten megabytes of binary": (bytes(range(256)) * 40_000, "larger than"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "zeroes": (bytes(1000), "control characters"),
    "bad UTF-8": (b"policies: {name: \xc3\x28}", "not UTF-8"),
    "an overlong encoding": (b"policies: {name: \xc0\xaf}", "not UTF-8"),
    "half a surrogate pair": (b"policies: {name: \xed\xa0\x80}", "not UTF-8"),
    "an escaped surrogate": ('policies: {name: "\\ud800"}', "Unicode"),
    "UTF-16": ("policies: {name: a}".encode("utf-16"), "not UTF-8"),
    "deep lists": ("[" * (FULL // 2), "nest"),
    "deep mappings": (_often("{a: ", between=""), "nested deeper"),
    "deep blocks": ("- " * 1000, "nested deeper"),
    "deep in time": ("\n".join(" " * depth + "a:" for depth in range(1200)), "nested deeper"),
    "deep steps of an approval": (
        HEAD + _rule("approval: " + "{steps: [" * 40 + "]}" * 40),
        "nested deeper",
    ),
    "a huge key": ("? " + "k" * FULL + "\n: 1", "missing"),
    "a huge key that is nearly right": ("? " + "policies" * 100_000 + "\n: 1", "missing"),
    "a huge word": ("a" * FULL, "expected"),
    "a huge comment": ("#" + "a" * FULL, "is empty"),
    "empty lines": ("\n" * FULL, "is empty"),
    "a huge anchor": ("&" + "a" * FULL + " x", "expected"),
    "a huge tag": ("!" + "a" * FULL + " x", "tags"),
    "a huge integer": ("a: 1" + "0" * 5000, "integer"),
    "a huge hexadecimal integer": (HEAD + _rule("operation_timeout: 0x1" + "0" * 900_000), "64 bits"),
    "a limit of a thousand digits": (
        HEAD + _rule("parameter_constraints: {timeout: {max: 0x1" + "0" * 900 + "}}"),
        "64 bits",
    ),
    "a float beyond all": (HEAD + _rule("parameter_constraints: {timeout: {max: 1e999}}"), "expected"),
    "infinity": (HEAD + _rule("parameter_constraints: {timeout: {max: .inf}}"), "can be compared"),
    "no number": (HEAD + _rule("parameter_constraints: {timeout: {max: .nan}}"), "can be compared"),
    "duplicate keys": ("{" + _often("a: 1") + "}", "occurs twice"),
    "duplicate keys of a rule": (HEAD + _rule("allowed: false"), "occurs twice"),
    "merge keys": (HEAD + _rule("<<: {requires_approval: false}"), "merge keys"),
    "a merge of an anchor": ("a: &a {x: 1}\nb: {<<: *a}", "aliases"),
    "a tag that runs code": ("policies: !!python/object/apply:os.system [id]", "tags"),
    "a tag that makes text a number": (HEAD + _rule("operation_timeout: !!int '5'"), "tags"),
    "a set": ("policies: !!set {a, b}", "tags"),
    "two documents": ("policies: {}\n---\npolicies: {deny_by_default: false}", "more than one document"),
    "directives": ("%YAML 1.1\n" * 10_000 + "---\na: 1", "duplicate"),
    "a key that is a list": ("? [policies]\n: {}", "key must be a plain text"),
    "an endless quote": ('"' + "a" * FULL, "quoted scalar"),
    "numbers that are none": ("[" + _often(".nan") + "]", "can be compared"),
    "a pattern that grows": (
        HEAD + _rule("parameter_constraints: {service_name: {pattern: '((a{1000}){1000}){1000}'}}"),
        "repetition",
    ),
    "a pattern of a megabyte": (
        HEAD + _rule("parameter_constraints: {service_name: {pattern: '" + "(" * 300_000 + "'}}"),
        "missing )",
    ),
    "a pattern that looks back": (
        HEAD + _rule("parameter_constraints: {service_name: {pattern: '(?<=a)b'}}"),
        "perl operator",
    ),
    "a pattern that refers back": (
        HEAD + _rule("parameter_constraints: {service_name: {pattern: '(a)\\1'}}"),
        "escape",
    ),
    "the zone of the machine": (HEAD + _rule("time_restrictions: [{timezone: localtime}]"), "time zone"),
    "a zone with leap seconds": (HEAD + _rule("time_restrictions: [{timezone: right/UTC}]"), "time zone"),
    "a zone that is a path": (HEAD + _rule("time_restrictions: [{timezone: ../../../etc/passwd}]"), "time zone"),
    "a day that never was": (HEAD + _rule("time_restrictions: [{from: '2026-02-30'}]"), "2026-02-30"),
}


MISTAKES: dict[str, tuple[Callable[[int], str], str]] = {
    "unknown keys": (
        lambda size: "{policies: {" + ", ".join(f"glbal_p{n}: 1" for n in range(size // 20)) + "}}",
        "unknown key",
    ),
    "mistakes in one line": (
        lambda size: "{policies: {global_policies: [" + _often("{nme: 1, x: 2}", size) + "]}}",
        "further problems",
    ),
    "nothing but mistakes": (
        lambda size: HEAD + _often("  - {name: 1, allowed: 7, operations: x}\n", size, between=""),
        "further problems",
    ),
    "operations that do not exist": (
        lambda size: HEAD + "  - {name: a, allowed: true, operations: [" + _often("file_raed", size) + "]}",
        "no operation",
    ),
    "parameters that do not exist": (
        lambda size: (
            HEAD
            + _rule(
                "parameter_constraints: {" + ", ".join(f"servce_{n}: {{max: 1}}" for n in range(size // 25)) + ", x: 7}"
            )
        ),
        "expected",
    ),
    "zones that do not exist": (
        lambda size: HEAD + _rule("time_restrictions: [" + _often("{timezone: Europe/Berlim}", size) + "]"),
        "no time zone",
    ),
    "one name for all rules": (
        lambda size: HEAD + _often(_rule("enabled: true"), size, ""),
        "rules have the name",
    ),
}
"""Files of a size in bytes, in which each mistake takes longer than its bytes."""
MOST, FEW = FULL // 4, FULL // 64


def refused_in_process(*sizes: int) -> dict[str, list[str]]:
    """Return the refusal of each file, from a process with limits. With a size, only of `MISTAKES`."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    ended = subprocess.run(
        [sys.executable, "-m", __name__, *map(str, sizes)],
        capture_output=True,
        check=False,
        cwd=Path(__file__).parents[2],
        preexec_fn=limits,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, (ended.returncode, ended.stdout[-300:], ended.stderr[-2000:])
    return dict(map(json.loads, ended.stdout.splitlines()))


@pytest.fixture(scope="module")
def refusals() -> dict[str, list[str]]:
    return refused_in_process()


@pytest.mark.parametrize("name", [*HOSTILE, *MISTAKES])
def test_a_hostile_file_is_refused_with_a_reason(name: str, refusals: dict[str, list[str]]) -> None:
    expect_reason(refusals[name], (HOSTILE | MISTAKES)[name][1])


@pytest.mark.exhaustive
def test_a_megabyte_of_mistakes_is_refused_with_a_reason() -> None:
    refusals = refused_in_process(MOST)
    assert refusals.keys() == MISTAKES.keys()
    for name, found in refusals.items():
        expect_reason(found, MISTAKES[name][1])


def expect_reason(found: list[str], reason: str) -> None:
    assert 1 <= len(found) <= 200
    assert any(reason in problem for problem in found), found[0][:300]


if __name__ == "__main__":
    size = int(sys.argv[1]) if sys.argv[1:] else FEW
    mistakes = {name: text(size).encode() for name, (text, _) in MISTAKES.items()}
    others = {} if sys.argv[1:] else {name: text for name, (text, _) in HOSTILE.items()}
    for each, text in (others | mistakes).items():
        raw = text if isinstance(text, bytes) else text.encode()
        print(json.dumps([each, [problem[:1200] for problem in refused(raw)]]), flush=True)
