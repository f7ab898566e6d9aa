"""sudo on a host: hostops started as root by one fixed command, and sudo's dialogue until it runs.

Pure: bytes in, bytes out. The password is sent once, only in reply to a prompt that has our nonce, and never again: a
second prompt means that it was refused.
"""

from msgspec import Struct

from writ_agent_ssh.startup.bootstrap_output import MOST_NOISE, TooMuchNoise
from writ_agent_ssh.startup.quoting import line
from writ_contracts.errors import Invalid, WritError

SUDO = "/usr/bin/sudo"
"""By its full path, so that no other program of the user that is found first gets the password."""
PYTHON = "/usr/bin/python3"
"""sudo's rules name programs by their full path."""
_STARTED = "WRIT-ROOT"
_PROGRAM = f'print("{_STARTED}",flush=True);exec(open(0,"rb",0,closefd=False).readline())'
COMMAND = (PYTHON, "-I", "-S", "-c", _PROGRAM)
"""The one command that sudo gets, word for word. It says first that it runs: before, the input is sudo's to read."""
_SPECIAL = ("\\", ",", ":", "=", "#", "*", "?", "[", "]")
_MOST_WORDS = 300
_NO_RULE = ("not in the sudoers file", "may not run sudo", "not allowed to execute", "not allowed to run")
_PASSWORD = ("a password is required", "incorrect password", "no password was provided")
_TERMINAL = ("must have a tty", "terminal is required", "no tty present")


class Sudo(Struct, frozen=True):
    """How one user of a host becomes root. `password`: b"" where the rule requires none."""

    user: str
    password: bytes = b""

    def command(self, nonce: str) -> str:
        """Return the command line for the login shell. No remembered password counts, so the dialogue is always the
        same.
        """
        request = ["-S", "-p", _prompt(nonce)] if self.password else ["-n"]
        return line(["env", "LC_ALL=C", SUDO, "-k", *request, "--", *COMMAND])


def rule(user: str) -> str:
    """Return the line of sudoers(5) that lets this user start hostops as root without a password, and nothing else."""
    words = [*COMMAND[:-1], "".join(f"\\{one}" if one in _SPECIAL else one for one in _PROGRAM)]
    return f"{user} ALL=(root) NOPASSWD: {' '.join(words)}"


class SudoStart:
    """The dialogue with one sudo, from its start until our program runs."""

    def __init__(self, sudo: Sudo, nonce: str) -> None:
        self._sudo, self._prompt = sudo, _prompt(nonce).encode()
        self._out, self._errors = bytearray(), bytearray()
        self._answered = False

    def take_output(self, data: bytes) -> bytes | None:
        """Return the bytes behind the sign that our program runs; None until then. Raises TooMuchNoise."""
        self._out += data
        _, sign, rest = bytes(self._out).partition(f"{_STARTED}\n".encode())
        if sign:
            return rest
        if len(self._out) > MOST_NOISE:
            raise TooMuchNoise(f"more than {MOST_NOISE} bytes before sudo started anything")
        return None

    def take_errors(self, data: bytes) -> bytes:
        """Return the reply to sudo, if it waits for one. Raises Invalid where it refused the password, TooMuchNoise."""
        self._errors += data
        if len(self._errors) > MOST_NOISE:
            raise TooMuchNoise(f"more than {MOST_NOISE} bytes of errors before sudo started anything")
        prompts = self._errors.count(self._prompt)
        if not prompts or not self._sudo.password:
            return b""
        if prompts > 1:
            raise _wrong_password(self._sudo.user)
        reply = b"" if self._answered else self._sudo.password + b"\n"
        self._answered = True
        return reply

    def refusal(self, status: int | None) -> WritError:
        """Return the reason for which it ended before our program ran."""
        words = self._errors.replace(self._prompt, b"").decode("utf-8", "replace")
        user, reply = self._sudo.user, words.casefold()
        if status == 127:
            return Invalid(f"{SUDO} is not installed on the host", code="become_missing")
        if f"{PYTHON}: command not found" in reply:
            return Invalid(f"the host has no {PYTHON}", code="no_python")
        if any(one in reply for one in _TERMINAL) and "password" not in reply:
            return Invalid(f"sudo lets {user} do nothing without a terminal (requiretty)", code="become_denied")
        if any(one in reply for one in _NO_RULE):
            return Invalid(f"no rule of sudo lets {user} start hostops as root", code="become_denied")
        if any(one in reply for one in _PASSWORD):
            return _wrong_password(user) if self._answered else _password_needed(user)
        return Invalid(f"sudo started nothing: {_last(words)}", code="become_denied")


def _prompt(nonce: str) -> str:
    return f"WRIT-PASSWORD-{nonce}:"


def _wrong_password(user: str) -> Invalid:
    return Invalid(f"sudo refuses the password of {user}", code="become_password")


def _password_needed(user: str) -> Invalid:
    return Invalid(
        f"sudo asks for a password of {user}: no rule lets it start hostops without one", code="become_denied"
    )


def _last(words: str) -> str:
    lines = [text.strip() for text in words.splitlines() if text.strip()]
    return "".join(one for one in (lines or ["it printed no message"])[-1] if one.isprintable())[:_MOST_WORDS]
