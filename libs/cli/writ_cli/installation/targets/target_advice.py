"""Advice for targets that are not well, by the code in the agent's report."""

from collections.abc import Mapping
from types import MappingProxyType

from writ_contracts.backends import DOCKER, PROXMOX

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "no_rule": "let a rule on role gateway allow backend_test to you",
        "no_agent": "start an agent of pool {pool}: `writ up` here, or `writ agent env {pool}` for another host",
        "bad_signature": "find out who replied in place of the agents of pool {pool}: somebody else has their rights "
        "at NATS, and `writ audit security --kind bad_signature` shows when",
        "unsupported": "read the message below the table: the agent cannot test this target",
        "unreachable": "see whether the host is up, and whether sshd answers at this address and port",
        "host_key_changed": "do not connect; ask the host itself for its key (on its console: ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub), and only if that host made a new key pin it: `writ target repin NAME`",
        "host_key_unknown": "put its host key into connection.host_keys, or into WRIT_SSH_KNOWN_HOSTS of the agent",
        "invalid_known_hosts": "correct connection.host_keys, or the file WRIT_SSH_KNOWN_HOSTS of the agent",
        "turned_away": "correct what it refused before, then wait: sshd rejects a client for a while after a refusal",
        "auth_failed": "add the public half of the target's key to ~/.ssh/authorized_keys of that user on the host",
        "no_session": "raise MaxSessions in sshd_config of the host: 0 permits no session",
        "no_credentials": "put the target's private key, named as the target, into WRIT_SSH_KEYS of the agent, 0600",
        "invalid_connection": "correct `connection` of the target in inventory.yaml",
        "invalid_parameter": "correct what is named of the target in inventory.yaml",
        "weak_algorithms": "update the host's sshd, or let it offer modern algorithms",
        "no_python": "install Python 3.9 or newer on the host (python3-minimal will do)",
        "not_root": "let its user become root (`writ target set {target} connection.become=sudo`), or give it a rule of"
        " polkit",
        "become_missing": "install sudo on the host, or log in as root",
        "become_denied": "put the rule that `writ target sudoers {target}` prints into /etc/sudoers.d/writ on the host",
        "become_password": "put the user's password into WRIT_SSH_KEYS of the agent, as {target}.sudo, mode 0600",
        "unusable_folder": "let the user have the folder for itself alone, or name another in connection.folder",
        "garbled": "see what the user's login shell prints besides, and let it be silent",
        "set_aside": "raise the memory that the agent may use if its system ended it; else distrust the host: what it "
        "sends kills the agent. It is tried again when that time is over",
        "connection_lost": "see what ended the connection: sshd's log on the host",
        "timeout": "see whether the host is overloaded, or raise connection.connect_timeout",
        "certificate_changed": "do not connect; compare with `pvenode cert info` on the node, and only if it was "
        "renewed put the new SHA-256 into connection.fingerprint",
        "node_offline": "start the node, or name another one of its cluster in connection.host",
        "no_quorum": "bring back enough nodes of the cluster: pvecm status",
        "no_rights": "give the token and its user the right that is named (docs/proxmox.md)",
        "tailscale_unavailable": "start tailscaled beside the agent, or name its socket in WRIT_TAILSCALE_SOCKET",
        "tailscale_refused": "let the agent's user ask tailscaled (tailscale set --operator=USER)",
        "tailscale_garbled": "see what answers at WRIT_TAILSCALE_SOCKET",
        "tailscale_down": "let tailscaled of the agent's host join the tailnet: tailscale up",
        "tailscale_unknown_peer": "correct connection.host: it is the peer's MagicDNS name or Tailscale address",
        "tailscale_offline": "start the host, and tailscaled on it",
        "tailscale_expired": "renew the key of that peer: tailscale up --force-reauth on it",
        "tailscale_wrong_node": "do not connect; if the host joined again, pin this in connection.tailscale_node_key",
        "tailscale_wrong_tags": "do not connect; if it is right as it is, correct connection.tailscale_tags",
        "tailscale_userspace": "give the agent WRIT_TAILSCALE_SOCKS5 or WRIT_TAILSCALE_PROGRAM",
        "socks_failed": "see whether tailscaled's SOCKS5 proxy is where WRIT_TAILSCALE_SOCKS5 says",
    }
)
OF_BACKEND: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        (DOCKER, "unreachable"): "see whether the Docker engine runs, whether connection.socket is its socket (or it "
        "listens at connection.host with --tlsverify), and whether the agent's user is in the socket's group",
        (DOCKER, "connection_lost"): "see what ended the connection: the log of the Docker engine",
        (DOCKER, "no_credentials"): "put an empty file, named as the target, into the agent's WRIT_DOCKER_CREDENTIALS",
        (DOCKER, "engine_refused"): "see what the engine says; Writ needs API 1.44 (Docker Engine 25) or newer",
        (PROXMOX, "unreachable"): "see whether the node is up, and whether pveproxy answers at this address and port",
        (PROXMOX, "auth_failed"): "replace the target's API token in WRIT_PROXMOX_TOKENS of the agent by a valid one",
        (
            PROXMOX,
            "no_credentials",
        ): "put the target's API token, named as the target, into WRIT_PROXMOX_TOKENS of the agent, 0600",
    }
)
"""The advice where a backend other than SSH has its own for a code."""
OTHERWISE = "read the log of the agent of pool {pool}"


def advice(code: str, pool: str, backend: str = "", *, target: str = "TARGET") -> str:
    """Return the advice in one sentence; none where there is no code."""
    if not code:
        return ""
    return (OF_BACKEND.get((backend, code)) or ADVICE.get(code, OTHERWISE)).format(pool=pool, target=target)
