"""Parameters never reach a shell: no code here starts one."""

import ast
from pathlib import Path

import pytest
from tests.architecture.tree import code, parsed, shown

SHELLS = {
    "os.system",
    "os.popen",
    "asyncio.create_subprocess_shell",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
}
STARTERS = {"run", "Popen", "call", "check_call", "check_output", "create_subprocess_exec", "execv", "execve", "execvp"}
INTERPRETERS = {"sh", "bash", "dash", "zsh", "/bin/sh", "/bin/bash", "/usr/bin/env"}


def started(path: Path) -> list[str]:
    """Return calls which start a shell: with `shell=True`, or by its name."""
    return [
        f"{shown(path)}:{node.lineno}"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and (ast.unparse(node.func) in SHELLS or _asks_for_one(node))
    ]


def _asks_for_one(call: ast.Call) -> bool:
    by_option = any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in call.keywords)
    first = call.args[0] if call.args else None
    command = first.elts[0] if isinstance(first, ast.List | ast.Tuple) and first.elts else first
    by_name = isinstance(command, ast.Constant) and command.value in INTERPRETERS
    starts = ast.unparse(call.func).rsplit(".", 1)[-1] in STARTERS
    return by_option or (by_name and starts)


def test_nothing_is_run_by_a_shell() -> None:
    assert [place for path in code() for place in started(path)] == []


@pytest.mark.parametrize(
    "call", ["os.system(x)", "subprocess.run(x, shell=True)", "asyncio.create_subprocess_exec('sh', '-c', x)"]
)
def test_check_finds_a_call_of_a_shell(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.py").write_text(call)
    monkeypatch.setattr("tests.architecture.tree.ROOT", tmp_path)
    assert started(tmp_path / "module.py") == ["module.py:1"]


def test_all_that_sshd_is_given_is_a_constant_or_comes_from_the_one_function_that_quotes() -> None:
    """`Link.channel` alone opens channels; a word of our own making before the line marks where its output begins."""
    calls = [
        (node, node.func, shown(path))
        for path in code()
        if "writ_agent_ssh" in path.parts
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    opening = [place for _, func, place in calls if func.attr in ("create_session", "create_process")]
    assert [Path(place).name for place in opening] == ["link.py"]
    arguments = {ast.unparse(node.args[1]) for node, func, _ in calls if ast.unparse(func) == "link.channel"}
    assert arguments == {"sudo.command(nonce) if sudo else COMMAND", "f'echo {word}; {line(bounded)}'"}
    [made] = [path for path in code() if path.name == "sudo.py" and "writ_agent_ssh" in path.parts]
    assert "return line([" in made.read_text()
