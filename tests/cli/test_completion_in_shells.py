"""Completion in real shells on a terminal: the line after the tab key."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.cli.test_help import INVENTORY, PRINCIPALS

from writ_testing.eventually import eventually
from writ_testing.peers.programs import program

TAB, SHOW, LEFT = "\t", "\x14", "\x02"
"""Keys: the settings of each shell bind the second one to a function that writes the line to a file, and empties it."""
SETTINGS = {
    "bash": """PS1=; eval "$(writ completion bash)"
show() { printf '%s' "$READLINE_LINE" > "$SHOWN.part"; mv "$SHOWN.part" "$SHOWN"; READLINE_LINE=; READLINE_POINT=0; }
bind -x '"\\C-t": show'
""",
    "zsh": """PS1=; eval "$(writ completion zsh)"
show() { print -rn -- "$BUFFER" > $SHOWN.part; mv $SHOWN.part $SHOWN; BUFFER= }
zle -N show; bindkey '^T' show; bindkey '^B' backward-char
""",
    "fish": """writ completion fish | source
function show; printf '%s' (commandline) > $SHOWN.part; mv $SHOWN.part $SHOWN; commandline ''; end
bind \\ct show; bind \\cb backward-char
""",
}
ARGUMENTS = {
    "bash": ("--noprofile", "--rcfile", "settings", "-i"),
    "zsh": ("-d", "-i"),
    "fish": ("--no-config", "--init-command", "source settings", "-i"),
}
LINES = {
    "writ run service_restart --target=w": "writ run service_restart --target=web-1",
    "writ run service_restart --as=": "writ run service_restart --as=alice",
    "writ run --as=alice service_resta": "writ run --as=alice service_restart",
    "writ run service_restart service_n": "writ run service_restart service_name=",
    "writ run backup_create quiesce=pau": "writ run backup_create quiesce=pause",
    "writ audit search --columns who,outc": "writ audit search --columns who,outcome",
    "writ run service_restart timeout=service_n": "writ run service_restart timeout=service_n",
    "writ run service_restart timeout=5 service_n": "writ run service_restart timeout=5 service_name=",
    f"writ run  service_restart{LEFT * len(' service_restart')}file_del": "writ run file_delete service_restart",
}
"""Lines, and what the tab key makes of them, but for blanks."""


@asynccontextmanager
async def terminal(shell: str, folder: Path) -> AsyncIterator[int]:
    """Yield the terminal of a shell with the settings and with `writ`."""
    command = f"#!{sys.executable}\nimport sys\nfrom writ_cli.main import main\nsys.argv[0] = 'writ'\nmain()\n"
    (folder / "writ").write_text(command)
    (folder / "writ").chmod(0o755)
    for name in ("settings", ".zshrc"):
        (folder / name).write_text(SETTINGS[shell])
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder), "ZDOTDIR": str(folder), "TERM": "dumb"}
    environ |= {"SHOWN": str(folder / "shown"), "WRIT_HOME": str(folder), "LC_ALL": "C.UTF-8"}
    ours, theirs = pty.openpty()
    arguments = ["setsid", "--ctty", program(shell), *ARGUMENTS[shell]]
    process = subprocess.Popen(arguments, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, read, ours)
    try:
        yield ours
    finally:
        loop.remove_reader(ours)
        process.kill()
        process.wait()
        os.close(ours)


def read(terminal: int) -> None:
    """Take what the shell shows, since it waits while nobody reads."""
    with suppress(OSError):  # it has ended
        os.read(terminal, 1 << 16)


async def pressed(keys: str, terminal: int, folder: Path) -> str:
    """Return the line after these keys."""
    os.write(terminal, (keys + TAB + SHOW).encode())

    async def shown() -> bool:
        return (folder / "shown").exists()

    await eventually(shown, what=f"the line after {keys!r}")
    line = (folder / "shown").read_text()
    (folder / "shown").unlink()
    return line


@pytest.mark.exhaustive
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shell", SETTINGS)
async def test_shell_completes_values_of_options_and_names_of_parameters(shell: str, tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    (tmp_path / "principals.yaml").write_text(PRINCIPALS)
    async with terminal(shell, tmp_path) as ours:
        lines = {keys: await pressed(keys, ours, tmp_path) for keys in LINES}
    ends = {line: keys for keys, line in lines.items() if line.endswith("= ")}
    assert ends == {}, "a blank ends the parameter"
    assert {keys: line.split() for keys, line in lines.items()} == {keys: line.split() for keys, line in LINES.items()}
