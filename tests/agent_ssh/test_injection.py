"""Any string arrives on the host as one value, or is refused, under each login shell.

Stand-ins replace the host's programs and record their arguments.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent_ssh.conftest import SshHost
from tests.agent_ssh.plain_host import ALWAYS, SHELLS, host_with, linked
from tests.hostops.test_injection import CANARY, CORPUS, PROGRAMS, recorded, samples, stand_ins

from writ_agent.backends.hostops_requests import allowed
from writ_agent_ssh.connection.link import SshLink, connect
from writ_agent_ssh.connection.program import run
from writ_agent_ssh.host_sessions.plain_session import OPERATIONS, SERVICES
from writ_agent_ssh.settings import connection_of
from writ_agent_ssh.startup.quoting import line
from writ_contracts.errors import Invalid
from writ_contracts.ids import encode_id
from writ_testing.exhaustive import some
from writ_testing.peers.programs import program
from writ_testing.suites.host_cases import repository

AT_ONCE = 8
ARGUMENTS = "import json, sys; print(json.dumps(sys.argv[1:]))"


class Hostile:
    """A host whose programs record their arguments, and unchecked requests to it."""

    def __init__(self, ssh: SshHost, record: Path) -> None:
        self.ssh, self.record = ssh, record
        self.target = ssh.server.target(
            file_roots=[str(ssh.root)],
            scan_networks=["127.0.0.0/8"],
            backup=repository(ssh.server.folder / "vault"),
        )
        self._number = 0
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run_request(self, operation: str, action: str = "run", **parameters: Any) -> dict[str, Any]:
        """Return the result of one request with any parameters."""
        self._number += 1
        request = {
            "id": encode_id(self._number.to_bytes(16, "big")),
            "action": action,
            "operation": operation,
            "parameters": parameters,
            "target": allowed(self.target),
            "timeout": 20.0,
        }
        async with self._room:
            session = await self.ssh.pool.session(self.target)
            try:
                return await session.run_request(request, lambda _: None, (), lambda _: None)
            except Invalid as refused:
                return {"outcome": "failed", "code": refused.code}

    def vectors(self) -> list[list[str]]:
        """Return all recorded commands with their arguments."""
        return list(recorded(self.record))


@pytest.fixture(params=some(SHELLS, "fish"))
async def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hostile]:
    programs = linked(tmp_path / "bin", ["python3"])
    stand_ins(programs, PROGRAMS, tmp_path / "record")
    async with host_with(tmp_path, programs, request.param) as host:
        yield Hostile(host, tmp_path / "record")


@pytest.fixture(params=some(SHELLS, "fish"))
async def plain(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hostile]:
    programs = linked(tmp_path / "bin", ALWAYS)
    stand_ins(programs, ("systemctl", "dpkg-query", "touch", "tee", "sh"), tmp_path / "record")
    async with host_with(tmp_path, programs, request.param) as host:
        yield Hostile(host, tmp_path / "record")


@pytest.fixture(params=some(SHELLS, "fish"))
async def link(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SshLink]:
    async with host_with(tmp_path, linked(tmp_path / "bin", [*ALWAYS, "python3"]), request.param) as host:
        pool = host.pool
        made = await connect("web1", connection_of(host.target), pool._credentials, pool._known, None, pool._logins)
        yield made
        await made.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", some([1, 4], 4))
async def test_no_string_of_any_operation_becomes_a_command(hostile: Hostile, tmp_path: Path, step: int) -> None:
    """Each parameter gets each string, or one of four; tests/hostops gives all of them without SSH."""
    root = hostile.ssh.root
    (root / "data").mkdir()
    (root / "a").write_text("a")
    texts = [
        (operation, parameters, name)
        for operation, parameters in samples(root).items()
        for name, value in parameters.items()
        if isinstance(value, str)
    ]
    tried = [
        (operation, {**parameters, name: text})
        for number, (operation, parameters, name) in enumerate(texts)
        for text in [*CORPUS.values()][number % step :: step]
    ]
    results = await asyncio.gather(*(hostile.run_request(operation, **values) for operation, values in tried))
    for request, result in zip(tried, results, strict=True):
        assert result["outcome"] in ("succeeded", "failed"), (request, result)
    vectors = hostile.vectors()
    assert vectors
    for vector in vectors:
        assert Path(vector[0]).name in ("apt-get", "dpkg-query", "restic", "zfs", "systemctl"), vector
        for word in vector[1:]:
            assert CANARY not in word or word in CORPUS.values(), vector
            assert "\n" not in word, vector
            assert not (word.startswith("-") and word in CORPUS.values()), vector
    assert not list(tmp_path.rglob(CANARY))
    assert hostile.ssh.server.log.read_text().count("Accepted publickey") == 1


async def test_a_string_arrives_as_it_is(hostile: Hostile) -> None:
    for kind, text in CORPUS.items():
        result = await hostile.run_request("test_secret", secret=text)
        if kind == "surrogate":
            assert result["code"] == "invalid_parameter"  # UTF-8 has no half of a pair: it would arrive as "?"
        else:
            assert (result["outcome"], result["output"]["echo"]) == ("succeeded", text), kind


async def test_a_name_and_a_content_arrive_as_they_are_or_are_refused(hostile: Hostile) -> None:
    root = hostile.ssh.root
    for kind, text in CORPUS.items():
        result = await hostile.run_request("file_write", file_path=f"{root}/{text}", content=text)
        there = list(root.iterdir())
        if result["outcome"] == "succeeded":
            assert [path.name for path in there] == [text], kind
            assert there[0].read_bytes() == text.encode()
            there[0].unlink()
        else:
            assert there == [], kind


@pytest.mark.timeout(300)
async def test_without_python_no_string_becomes_a_command(plain: Hostile, tmp_path: Path) -> None:
    tried = [
        (operation, {name: text})
        for operation, parameters in samples(tmp_path).items()
        if operation in OPERATIONS
        for name in parameters
        for text in CORPUS.values()
    ]
    assert {operation for operation, _ in tried} == {name for name in OPERATIONS if not name.startswith("list_")}
    looks = [(operation, action) for operation in SERVICES for action in ("baseline", "probe", "preview")]
    actions = [(operation, "run", values) for operation, values in tried]
    actions += [(operation, action, {"service_name": text}) for operation, action in looks for text in CORPUS.values()]
    for operation, action, values in actions:
        result = await plain.run_request(operation, action, **values)
        assert result["outcome"] in ("succeeded", "failed"), (operation, values, result)
    vectors = plain.vectors()
    assert vectors
    for vector in vectors:
        assert Path(vector[0]).name in ("systemctl", "dpkg-query"), vector
        named = vector[vector.index("--") + 1 :] if "--" in vector else []
        assert all(name.removesuffix(".service") in CORPUS.values() for name in named), vector
        assert not [word for word in vector if CANARY in word]
    assert not list(tmp_path.rglob(CANARY))


async def test_a_quoted_argument_arrives_as_it_is_or_is_refused(link: SshLink) -> None:
    arrived = set()
    for kind, text in {**CORPUS, "quotes": "'\\'' \\\\ \"", "dots": "…", "bang": "!x !!", "hash": "#x"}.items():
        with suppress(Invalid):
            ran = await run(link, ["python3", "-c", ARGUMENTS, text])
            assert (ran.status, json.loads(ran.out)) == (0, [text]), kind
            arrived.add(kind)
    refused = {"newline", "trailing newline", "carriage return", "nul", "surrogate", "escape", "unicode", "long path"}
    assert {*CORPUS} - arrived <= refused


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20) | st.text("'\\\"$`!*?~#;&|<>(){}[] -=%^", max_size=12))
)
def test_any_words_arrive_in_every_shell_or_are_refused(words: list[str]) -> None:
    try:
        quoted = line([sys.executable, "-c", ARGUMENTS, *words])
    except Invalid:
        assert not all(word.isprintable() for word in words)
        return
    for shell in SHELLS:
        command = [program(shell), "-c", quoted]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(done.stdout) == words, shell


def test_a_line_that_no_shell_could_be_given_is_refused() -> None:
    for words in (["x" * 200_000], ["'" * 60_000], ["a\nb"], ["a\0b"], ["\ud800"], ["\ufdd0"]):
        with pytest.raises(Invalid) as refused:
            line(words)
        assert refused.value.code == "unquotable"
