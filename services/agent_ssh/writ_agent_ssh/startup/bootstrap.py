"""The bootstrap on the host, for any Python there: put hostops into Writ's folder of that user, and start it.

It is sent as text, so it imports nothing of Writ before hostops is in place. Standard input brings its configuration as
one line and, if this host lacks the archive of that digest, the archive. The reply is one line with the nonce, so
earlier prints of a shell cannot be taken for it.
"""

# mypy: disable-error-code="import-not-found"
import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import pwd
import shutil
import stat
import sys
import time
import zipfile
from importlib.machinery import FileFinder, SourceFileLoader
from typing import Any, Dict, Iterator

KEPT = 30 * 86400.0
LOCK_SECONDS, ATTEMPTS = 2.0, 3


def main() -> None:
    """Read the configuration, prepare hostops, and serve until the connection ends."""
    output = os.dup(1)
    os.dup2(2, 1)
    source = open(0, "rb", 0, closefd=False)  # noqa: SIM115 - the supervisor's from here on
    requested = json.loads(source.readline())

    def say(word: str, why: str = "") -> None:
        os.write(output, f"\nWRIT-{word} {requested['nonce']} {why}\n".encode())

    if sys.version_info < (3, 9):
        say("OLD", ".".join(map(str, sys.version_info[:3])))
        return
    folder = requested["folder"] or default_folder()
    try:
        code = ready(folder, requested, source, say)
    except OSError as error:
        say("UNUSABLE", f"{error.filename or folder}: {error.strerror or error}")
        return
    say("HERE")
    read_sources_only(code)
    from writ_hostops.supervised.start import start  # noqa: PLC0415 - it is here since just now

    start(0, output, folder, requested["carried"])


def default_folder() -> str:
    """Return the default folder: one for each user of this host, on a disk that survives a reboot."""
    if os.geteuid() == 0:
        return "/var/lib/writ-hostops"
    return os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".local", "state", "writ-hostops")


def ready(folder: str, requested: Dict[str, Any], source: Any, say: Any) -> str:
    """Return the folder with the code of this digest."""
    codes = os.path.join(folder, "code")
    os.umask(0o077)  # for the folders above it, too, whatever this user's is
    os.makedirs(codes, mode=0o700, exist_ok=True)
    own(folder)
    own(codes)
    code = os.path.join(codes, requested["digest"])
    with locked(codes, fcntl.LOCK_SH):  # many connections compare at the same time
        there = os.path.isdir(code) and own(code) and contents(code) == requested["contents"]
    if not there:
        with locked(codes, fcntl.LOCK_EX):
            there = as_sent(code, requested["contents"])
    if there:
        os.utime(code)
        return code
    say("SEND")
    archive = b""
    while len(archive) < requested["size"]:
        piece = source.read(requested["size"] - len(archive))
        if not piece:
            raise OSError(0, "the archive is incomplete", code)
        archive += piece
    if hashlib.sha256(archive).hexdigest() != requested["digest"]:
        raise OSError(0, "the archive does not match its announced digest", code)
    sweep(codes)
    with locked(codes, fcntl.LOCK_EX):
        return unpacked(archive, code, requested["contents"])


@contextlib.contextmanager
def locked(codes: str, how: int) -> Iterator[None]:
    """Hold the lock of the folder within the block: what this connection moves away may be what another has just
    unpacked. A process that was stopped with the lock, and a file system without locks, delay this and no more.
    """
    folder, until = os.open(codes, os.O_RDONLY | os.O_DIRECTORY), time.monotonic() + LOCK_SECONDS
    try:
        while time.monotonic() < until:
            try:
                fcntl.flock(folder, how | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    break
                time.sleep(0.01)
        yield
    finally:
        os.close(folder)


def as_sent(code: str, wanted: str) -> bool:
    """Return whether the code is there with these contents. Move any other out of the way."""
    if not os.path.lexists(code):
        return False
    own(code)
    if contents(code) == wanted:
        return True
    away(code)
    return False


def own(folder: str) -> bool:
    """Return true if no other user could have put code there. Raises OSError otherwise."""
    status = os.lstat(folder)
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not mine or status.st_mode & 0o022:
        raise OSError(0, "must be a folder that belongs to this user alone (mode 0700)", folder)
    return True


def contents(code: str) -> str:
    """Return the digest of every file by name; "" if there is anything but files and folders."""
    paths = []
    for folder, folders, names in os.walk(code):
        paths += [os.path.join(folder, name) for name in names]
        if any(os.path.islink(os.path.join(folder, name)) for name in folders):
            return ""
    digest = hashlib.sha256()
    for path in sorted(paths):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return ""
        with open(path, "rb") as file:
            text = file.read()
        digest.update(f"{os.path.relpath(path, code)} {len(text)}\n".encode("utf-8", "replace") + text)
    return digest.hexdigest()


def read_sources_only(code: str) -> None:
    """Import from this folder, but never bytecode, which was not verified."""

    class Sources(SourceFileLoader):
        def path_stats(self, path: str) -> Any:
            raise OSError(0, "its bytecode is neither read nor written")

    def finder(path: str) -> FileFinder:
        if path != code and not path.startswith(code + os.sep):
            raise ImportError
        return FileFinder(path, (Sources, [".py"]))

    sys.path_hooks.insert(0, finder)
    sys.path.insert(0, code)


def beside(code: str) -> str:
    """Return a name that nothing else has."""
    return f"{code}.{os.getpid()}.{time.monotonic_ns()}"


def away(code: str) -> None:
    """Move the code out of the way at once. Another connection may do the same at this moment."""
    part = beside(code)
    try:
        os.rename(code, part)
    except FileNotFoundError:
        return
    shutil.rmtree(part, ignore_errors=True)  # a Python that writes bytecode into it may add some at the same time


def unpacked(archive: bytes, code: str, wanted: str) -> str:
    """Unpack whole or not at all. Another connection may do the same at this moment.

    A Python that runs code of the folder, and does not belong to Writ, writes its bytecode there, and makes the folders
    for it: also while they are moved away. What is there instead is compared like the code of an earlier connection.
    """
    for _ in range(ATTEMPTS):
        part = beside(code)
        os.mkdir(part, 0o700)
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
                bundle.extractall(part)
            os.rename(part, code)
            return code
        except OSError:  # no room; or another one was first
            shutil.rmtree(part, ignore_errors=True)
            if not os.path.lexists(code):
                raise
        if as_sent(code, wanted):
            return code
    raise OSError(0, "something else writes into it all the time", code)


def sweep(codes: str) -> None:
    """Remove code unused for long. Other connections may remove the same code, or finish with theirs, at the same
    time.
    """
    for name in os.listdir(codes):
        path = os.path.join(codes, name)
        try:
            unused = time.time() - os.lstat(path).st_mtime
        except FileNotFoundError:
            continue
        if unused > KEPT:
            shutil.rmtree(path, ignore_errors=True)
