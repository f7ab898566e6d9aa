"""The dialogue with sudo, from the bytes of real ones (sudo 1.9.16 of Debian, LC_ALL=C)."""

import pytest

from writ_agent_ssh.host_sessions.recent_failures import WRONG_PASSWORD_SECONDS, RefusedPasswords
from writ_agent_ssh.settings import SshConnection
from writ_agent_ssh.startup.bootstrap_output import TooMuchNoise
from writ_agent_ssh.startup.sudo import COMMAND, Sudo, SudoStart, rule
from writ_contracts.errors import Invalid

NONCE = "ab" * 16
PROMPT = f"WRIT-PASSWORD-{NONCE}:".encode()
LECTURE = b"\nWe trust you have received the usual lecture from the local System\nAdministrator.\n\n"


def start(password: bytes = b"") -> SudoStart:
    return SudoStart(Sudo("ann", password), NONCE)


def test_a_rule_names_the_exact_command_with_what_is_special_in_sudoers_escaped() -> None:
    assert rule("ann") == (
        "ann ALL=(root) NOPASSWD: /usr/bin/python3 -I -S -c "
        'print("WRIT-ROOT"\\,flush\\=True);exec(open(0\\,"rb"\\,0\\,closefd\\=False).readline())'
    )


def test_sudo_command_line_has_no_password_and_resets_cached_credentials() -> None:
    quiet, asking = Sudo("ann").command(NONCE), Sudo("ann", b"secret").command(NONCE)
    assert "'/usr/bin/sudo' '-k' '-n' '--' '/usr/bin/python3'" in quiet
    assert f"'/usr/bin/sudo' '-k' '-S' '-p' '{PROMPT.decode()}' '--'" in asking
    assert "secret" not in asking
    assert all(f"'{word}'" in asking for word in COMMAND[:-1])


def test_a_password_is_sent_once_and_only_to_our_own_prompt() -> None:
    dialogue = start(b"secret")
    assert dialogue.take_errors(b"Password: WRIT-PASSWORD-" + b"00" * 16 + b":") == b""
    assert dialogue.take_errors(LECTURE + PROMPT[:10]) == b""
    assert dialogue.take_errors(PROMPT[10:]) == b"secret\n"
    assert dialogue.take_errors(b"\n") == b""
    with pytest.raises(Invalid, match="refuses the password of ann") as refused:
        dialogue.take_errors(b"Sorry, try again.\n" + PROMPT)
    assert refused.value.code == "become_password"


def test_sudo_prompt_gets_no_input_without_a_password() -> None:
    assert start().take_errors(PROMPT) == b""


def test_a_program_that_started_hands_over_the_bytes_behind_its_sign() -> None:
    dialogue = start()
    assert dialogue.take_output(b"motd of the login shell\nWRIT-RO") is None
    assert dialogue.take_output(b"OT\n\nWRIT-SEND x") == b"\nWRIT-SEND x"


@pytest.mark.parametrize("take", ["take_output", "take_errors"])
def test_noise_before_the_start_is_bounded(take: str) -> None:
    with pytest.raises(TooMuchNoise):
        getattr(start(), take)(b"x" * 70_000)


@pytest.mark.parametrize(
    ("status", "words", "code", "part"),
    [
        (1, b"sudo: a password is required\n", "become_denied", "asks for a password of ann"),
        (1, b"ann is not in the sudoers file.\nThis incident has been reported.\n", "become_denied", "no rule of sudo"),
        (
            1,
            b"Sorry, user ann is not allowed to execute '/usr/bin/python3' as root on h.\n",
            "become_denied",
            "no rule",
        ),
        (1, b"Sorry, user ann may not run sudo on h.\n", "become_denied", "no rule of sudo"),
        (1, b"sudo: sorry, you must have a tty to run sudo\n", "become_denied", "requiretty"),
        (127, b"env: '/usr/bin/sudo': No such file or directory\n", "become_missing", "not installed"),
        (1, b"sudo: /usr/bin/python3: command not found\n", "no_python", "/usr/bin/python3"),
        (1, b"sudo: error\x07 in /etc/sudo.conf\n", "become_denied", "started nothing: sudo: error in /etc/sudo.conf"),
        (1, b"", "become_denied", "it printed no message"),
    ],
)
def test_a_refusal_says_what_sudo_refused(status: int, words: bytes, code: str, part: str) -> None:
    dialogue = start()
    dialogue.take_errors(words)
    refusal = dialogue.refusal(status)
    assert (refusal.code, part in str(refusal)) == (code, True)


def test_a_refusal_after_the_password_is_one_of_the_password() -> None:
    dialogue = start(b"secret")
    dialogue.take_errors(PROMPT)
    dialogue.take_errors(b"\nSorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt\n")
    assert dialogue.refusal(1).code == "become_password"


def test_a_refused_password_is_not_sent_again_until_it_differs_or_the_time_is_over() -> None:
    now, tries = [0.0], list[Sudo]()
    refused = RefusedPasswords(lambda: now[0])

    def attempt(sudo: Sudo, code: str = "become_password") -> str:
        with pytest.raises(Invalid) as error, refused.watch("web1", sudo):  # noqa: PT012 - the attempt is counted
            tries.append(sudo)
            raise Invalid("no", code=code)
        return error.value.code

    wrong, other = Sudo("ann", b"1"), Sudo("ann", b"2")
    assert [attempt(wrong), attempt(wrong), attempt(wrong)] == ["become_password"] * 3
    assert tries == [wrong]
    attempt(other, "become_denied")
    assert tries == [wrong, other]
    now[0] = WRONG_PASSWORD_SECONDS
    attempt(wrong)
    assert tries == [wrong, other, wrong]


def test_operations_need_root_by_the_patterns_of_the_target() -> None:
    usual = SshConnection(host="h", user="ann", become="sudo")
    needs_root = {
        name: usual.needs_root(name) for name in ("service_restart", "service_status", "file_write", "list_backups")
    }
    assert needs_root == {"service_restart": True, "service_status": False, "file_write": False, "list_backups": True}
    assert not usual.needs_root("")
    assert not SshConnection(host="h", user="root", become="sudo").needs_root("service_restart")
    assert not SshConnection(host="h", user="ann").needs_root("service_restart")
