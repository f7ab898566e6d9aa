"""A made-up Debian root with a repository of its own: real apt-get and dpkg, and nothing of this machine is touched."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from writ_hostops.packages import apt, dpkg, index, results
from writ_testing.peers.programs import program
from writ_testing.suites.host_cases import HostCase, HostCases

FOLDERS = (
    "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d",
    "var/lib/apt/lists/partial", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers",
    "var/cache/apt/archives/partial", "var/log/apt",
)  # fmt: skip

HOOKS = ("DPkg::Pre-Install-Pkgs", "DPkg::Pre-Invoke", "DPkg::Post-Invoke", "APT::Update::Pre-Invoke",
         "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")  # fmt: skip
"""Commands that this machine's apt.conf.d adds. That of debconf takes 0.5 s for each package, and writes to /var."""


class AptRoot:
    """`root` is where packages are installed, `repo` where they come from."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.repo = folder / "repo"
        self._scratch = folder / "deb"
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True)
        self.repo.mkdir()
        (self.root / "var/lib/dpkg/status").touch()
        (self.root / "var/lib/dpkg/available").touch()
        self._config = folder / "apt.conf"
        self._config.write_text("".join(f"#clear {name};\n" for name in HOOKS))
        (self.root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{self.repo} ./\n")

    def options(self) -> list[str]:
        """Return the options for apt-get."""
        forced = ("--root", "--force-not-root", "--force-script-chrootless", "--log")
        values = {"--root": str(self.root), "--log": str(self.root / "dpkg.log")}
        reply = [f"{option}={values[option]}" if option in values else option for option in forced]
        pairs = [f"Dir={self.root}", f"Dir::State::status={self.root}/var/lib/dpkg/status", "APT::Sandbox::User="]
        without_hooks = ("-c", str(self._config))
        return [
            *without_hooks,
            *(word for pair in [*pairs, *(f"DPkg::Options::={one}" for one in reply)] for word in ("-o", pair)),
        ]

    def admin(self) -> list[str]:
        """Return the options for dpkg-query."""
        return [f"--admindir={self.root}/var/lib/dpkg"]

    def publish(
        self,
        name: str,
        version: str,
        *,
        fields: str = "",
        postinst: str = "",
        prerm: str = "",
        conffile: str = "",
        files: Sequence[str] = (),
        folder: str = "",
    ) -> None:
        """A package in the repository; `update` makes apt know it. `folder`: of its files, for one made again."""
        tree = self._scratch / (folder or f"{name}-{version}")
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr/share" / name).mkdir(parents=True)
        (tree / "usr/share" / name / "version").write_text(version)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
        (tree / "DEBIAN/control").write_text(f"{control}{fields}Description: for a test\n")
        for script, text in (("postinst", postinst), ("prerm", prerm)):
            if text:
                (tree / "DEBIAN" / script).write_text(f"#!/bin/sh\n{text}\n")
                (tree / "DEBIAN" / script).chmod(0o755)
        for path in files:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(version)
        if conffile:
            (tree / conffile).parent.mkdir(parents=True)
            (tree / conffile).write_text("setting = 1\n")
            (tree / "DEBIAN/conffiles").write_text(f"/{conffile}\n")
        _run("dpkg-deb", "--build", str(tree), f"{self.repo}/{name}_{version}_all.deb")

    def update(self) -> None:
        """The index of the repository, and apt's copy of it."""
        self.index()
        _run("apt-get", *self.options(), "-q", "update")

    def install(self, name: str) -> None:
        """Install a package as somebody else would."""
        _run("apt-get", *self.options(), "-y", "-q", "install", name)

    def index(self) -> None:
        (self.repo / "Packages").write_bytes(_run("apt-ftparchive", "packages", ".", cwd=self.repo))
        (self.repo / "Release").write_bytes(_run("apt-ftparchive", "release", ".", cwd=self.repo))

    def version(self, name: str) -> str:
        """The version on the disk, by the package's own file; "" where it is not."""
        path = self.root / "usr/share" / name / "version"
        return path.read_text() if path.exists() else ""

    def fingerprint(self) -> str:
        """Return a digest of every file of the root, with its content."""
        digest = hashlib.sha256()
        for path in sorted(self.root.rglob("*")):
            digest.update(f"{path} {path.lstat().st_mode}\n".encode())
            if path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def mark(self, name: str, status: str) -> None:
        """Give an installed package another status, such as `hold ok installed`."""
        path = self.root / "var/lib/dpkg/status"
        stanzas = path.read_text().split("\n\n")
        mine = [one for one in stanzas if one.startswith(f"Package: {name}\n")]
        path.write_text(path.read_text().replace(mine[0], mine[0].replace("install ok installed", status)))

    def interrupt(self, name: str) -> None:
        """Leave dpkg's list as after a kill while it configures a package."""
        stanzas = (self.root / "var/lib/dpkg/status").read_text().split("\n\n")
        mine = next(one for one in stanzas if one.startswith(f"Package: {name}\n"))
        half = mine.replace("install ok installed", "install ok half-configured")
        (self.root / "var/lib/dpkg/updates/0001").write_text(f"{half}\n")

    @contextmanager
    def locked(self, lock: str = "var/lib/dpkg/lock-frontend") -> Iterator[None]:
        """Hold dpkg's lock, or another, within the block."""
        path = self.root / lock
        holder = (
            "import fcntl, sys; lock = open(sys.argv[1], 'w'); fcntl.lockf(lock, fcntl.LOCK_EX)\n"
            "print('held', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            yield
            other.communicate()


def wait_for_script(flag: Path) -> int:
    """Return the process of a package's script, once it has written it into the file."""
    pause = threading.Event()
    for _ in range(600):
        if flag.exists() and flag.read_text().strip():
            return int(flag.read_text())
        pause.wait(0.05)
    raise AssertionError("the script did not begin")


def host_cases(made: HostCases, apt: AptRoot) -> Iterator[HostCase]:
    """Yield the cases of a backend whose hostops works on this root."""
    for version in ("1.0", "1.1"):
        apt.publish("hello", version)
    apt.update()
    supplied = {"package_name": "hello"}
    yield made.host_case("package_install", lambda _: apt.version("hello") == "1.0", **supplied, version="1.0")
    yield made.host_case("package_list", lambda output: output is not None and len(output["packages"]) == 1)
    yield made.host_case("package_update", lambda _: apt.version("hello") == "1.1", **supplied)
    yield made.host_case("package_remove", lambda _: apt.version("hello") == "", **supplied)


def _run(*command: str, cwd: Path | None = None) -> bytes:
    done = subprocess.run([program(command[0]), *command[1:]], cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def apt_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AptRoot:
    """hostops works on it; it knows `hello` 1.0 and 1.1, and `extra`, which needs it."""
    root = AptRoot(tmp_path / "apt")
    monkeypatch.setattr(apt, "OPTIONS", root.options())
    monkeypatch.setattr(dpkg, "OPTIONS", root.admin())
    monkeypatch.setattr(index, "LISTS", f"{root.root}/var/lib/apt/lists")
    monkeypatch.setattr(dpkg, "UPDATES", f"{root.root}/var/lib/dpkg/updates")
    for lock in ("LOCK", "FRONTEND_LOCK"):
        monkeypatch.setattr(dpkg, lock, f"{root.root}{getattr(dpkg, lock)}")
    monkeypatch.setattr(results, "REBOOT_REQUIRED", f"{root.root}/run/reboot-required")
    root.publish("hello", "1.0")
    root.publish("hello", "1.1")
    root.publish("extra", "2.0-1", fields="Depends: hello\n")
    root.update()
    return root
