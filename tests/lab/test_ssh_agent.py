"""The SSH agent on a real host: its files there, login shells, and routes."""

import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.lab.host_requests import begun, hang_up, let_go, only, reported, security, settled
from tests.lab.hosts import SHELLS, Host, until
from tests.lab.installation import Writ
from tests.lab.ssh_agent import SshAgent
from tests.lab.targets import PEER, ROOT, home

from writ_testing.peers.tailscale_local_api import Peer, TailscaleState, node_key

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), only("ssh")]

FOLDER = "/var/lib/writ-hostops"
ODD = "a b'c\"d$(touch gone)`id`;&&|<>*?[x]{y}~#!%\\é\u202e"
"""What a shell would make something of."""


def test_host_gets_one_folder_that_only_root_may_read(writ: Writ, host: Host) -> None:
    hang_up(host)
    host.run("rm", "-rf", FOLDER)
    before = host.state()
    assert writ.run("network_status")["outcome"] == "succeeded"
    assert host.state() == before
    assert host.run("stat", "--format=%U %a", FOLDER) == "root 700"


def test_no_process_is_left_on_the_host_when_the_agent_ends(writ: Writ, host: Host, over_ssh: SshAgent) -> None:
    writ.run("network_status")
    assert processes(host) != ""
    over_ssh.end(signal.SIGTERM)
    try:
        until(lambda: processes(host) == "", 20.0, "nothing of it runs on the host")
    finally:
        over_ssh.start()
    assert writ.run("network_status")["outcome"] == "succeeded"


def processes(host: Host) -> str:
    """Return the processes of sshd's connections, and of hostops."""
    return host.attempt("pgrep", "--full", "sshd-session|readline")[1]


@pytest.mark.parametrize("shell", SHELLS)
def test_request_arrives_unchanged_through_any_login_shell(writ: Writ, host: Host, shell: str) -> None:
    path, text = f"{home(shell)}/{ODD}", f"{ODD}\n-n $HOME\r\n\t{ODD}"
    there = f"login-{shell}"
    assert writ.run("file_write", f"file_path={path}", f"content={text}", target=there)["outcome"] == "succeeded"
    assert host.run("base64", path, "--wrap=0") == host.run("base64", "--wrap=0", stdin=text)
    assert host.run("stat", "--format=%U", path) == there
    assert writ.run("file_read", f"file_path={path}", target=there)["output"]["content"] == text
    assert writ.run("file_delete", f"file_path={path}", target=there)["outcome"] == "succeeded"
    assert host.run("ls", home(shell)) == ""


def test_missing_permission_of_a_user_is_reported(writ: Writ, host: Host) -> None:
    before = host.show("nginx", "InvocationID")
    done = writ.run("service_restart", "service_name=nginx", target="login-sh", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "permission_denied")
    assert host.show("nginx", "InvocationID") == before


def test_target_is_reached_through_a_jump_host(writ: Writ, host: Host, near_host: Host) -> None:
    host.run("mkdir", "-p", ROOT)
    with near_host.held():
        done = writ.run("file_write", f"file_path={ROOT}/by-jump", "content=jumped", target="jump")
        peers = host.run("ss", "--no-header", "--numeric", "--tcp", "state", "established", "sport = :22")
    assert done["outcome"] == "succeeded"
    assert host.run("cat", f"{ROOT}/by-jump") == "jumped"
    assert f"{near_host.address}:" in peers


@pytest.fixture
def peer(tailnet: TailscaleState, host: Host) -> Iterator[Peer]:
    """The host as a peer of the tailnet, as it should be; no connection to it is kept."""
    hang_up(host)
    peer = Peer(name=PEER, addresses=(host.address,), tags=("tag:lab",))
    yield peer
    tailnet.put(peer)


def test_a_host_is_reached_as_a_peer_of_a_tailnet(writ: Writ, host: Host, peer: Peer) -> None:
    before = host.show("nginx", "InvocationID")
    assert writ.run("service_restart", "service_name=nginx", target="peer")["outcome"] == "succeeded"
    assert host.show("nginx", "InvocationID") != before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"online": False}, "tailscale_offline"),
        ({"key": node_key("thief")}, "tailscale_wrong_node"),
        ({"tags": ()}, "tailscale_wrong_tags"),
        ({"expired": True}, "tailscale_expired"),
    ],
)
def test_tailscale_peer_with_a_wrong_property_is_refused(
    writ: Writ, host: Host, tailnet: TailscaleState, peer: Peer, change: dict[str, object], code: str
) -> None:
    tailnet.put(replace(peer, **change))  # type: ignore[arg-type]
    before = host.show("nginx", "InvocationID")
    done = writ.run("service_restart", "service_name=nginx", target="peer", status=1)
    assert (done["outcome"], done["code"]) == ("failed", code)
    if "wrong" in code:
        reported(writ, done["operation_id"], "wrong_peer")
    assert security(writ, done["operation_id"]) == (["wrong_peer"] if "wrong" in code else [])
    assert host.show("nginx", "InvocationID") == before


def test_an_agent_killed_in_the_middle_comes_back_and_the_operation_has_one_outcome(
    writ: Writ, host: Host, slow: str, over_ssh: SshAgent
) -> None:
    starts = host.run("cat", "/srv/slow-starts")
    number = begun(writ, host, slow)
    over_ssh.end(signal.SIGKILL)
    over_ssh.start()
    done = writ.ended(number, 60.0)
    assert (done["outcome"], done["code"]) == ("unknown", "still_running")  # so the host says
    let_go(host)
    settled(writ, number)
    assert host.run("cat", "/srv/slow-starts").splitlines() == [*starts.splitlines(), "started"]
