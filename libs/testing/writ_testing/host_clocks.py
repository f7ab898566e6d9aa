"""Host clocks for tests, set as NTP, suspend and people do it.

`ClockedHost` is for objects in this process, `HostClocks` for the processes of a running installation.
"""

import json
import site
import sys
import time
from functools import partial
from pathlib import Path

from writ_runtime.clocks import SYSTEM, Clocks, boot_time
from writ_testing.clock_shim import FOLDER


class ClockedHost:
    """A host whose `wall` and `boot` are added to the real clocks, in seconds."""

    def __init__(self, *, wall: float = 0.0, boot: float = 0.0, stands: bool = False) -> None:
        """`stands`: its clocks go on only when they are set, so that a slow machine uses up no deadline."""
        self.wall = wall
        self.boot = boot
        self._stands_at = (
            Clocks(boot=partial(float, boot_time()), wall=partial(float, time.time())) if stands else SYSTEM
        )

    @property
    def clocks(self) -> Clocks:
        """Return the clocks of a process on this host."""
        at = self._stands_at
        return Clocks(boot=lambda: at.boot() + self.boot, wall=lambda: at.wall() + self.wall)

    def step(self, seconds: float) -> None:
        """Step the host's own clock."""
        self.wall += seconds

    def suspend(self, seconds: float) -> None:
        """Suspend the host: its boot clock goes on, and its own time is right after the wake-up."""
        self.boot += seconds


def shifted_python(folder: Path) -> Path:
    """Make an environment like this one in which each process has clocks of its own (clock_shim). Return its `writ`
    command.

    `writ up` starts its services with its own interpreter, so they have them too.
    """
    root, own = folder / "shifted", Path(sys.executable)
    packages = root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    real = [path for path in site.getsitepackages() if Path(path).is_dir()]
    lines = [f"import site; site.addsitedir({path!r})" for path in real]
    (packages / "shifted.pth").write_text("\n".join([*lines, "import writ_testing.clock_shim"]) + "\n")
    (root / "bin").mkdir()
    python = root / "bin" / "python"
    python.symlink_to(own.resolve())
    (root / "pyvenv.cfg").write_text(f"home = {own.resolve().parent}\ninclude-system-site-packages = false\n")
    for program in own.parent.iterdir():  # nats-server is looked for beside the interpreter
        if not (root / "bin" / program.name).exists() and program.name != "writ":
            (root / "bin" / program.name).symlink_to(program)
    command = root / "bin" / "writ"
    _, _, rest = own.with_name("writ").read_text().partition("\n")
    command.write_text(f"#!{python}\n{rest}")
    command.chmod(0o755)
    return command


class HostClocks:
    """The clocks of each process of a running installation, by its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment for the installation."""
        return {FOLDER: str(self.folder)}

    def set(self, process: str, *, wall: float = 0.0, boot: float = 0.0, drift: float = 0.0) -> None:
        """Set the shifts of the process from now on."""
        draft = self.folder / f".{process}.draft"
        draft.write_text(json.dumps({"wall": wall, "boot": boot, "drift": drift}))
        draft.replace(self.folder / f"{process}.json")
