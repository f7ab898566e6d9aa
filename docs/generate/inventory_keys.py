"""docs/inventory.md: every key of inventory.yaml and principals.yaml, from the structs that read them."""

from msgspec import Struct
from msgspec.structs import fields

from docs.generate.policy_keys import default_of, type_of
from writ_agent_proxmox import settings as proxmox
from writ_agent_ssh import settings as ssh
from writ_containers.engine import connection as docker
from writ_contracts.inventory import BackupRepository, FileRoot, Principal, Target

HEAD = """\
# Keys of the inventory

Each key of `inventory.yaml` and `principals.yaml` with its type, its default, its meaning and an example.
Unknown keys are errors. `writ target add` and `writ target set` write entries, as does `writ principal add`
([add-and-remove.md](operating/add-and-remove.md)).

`writ schema inventory` and `writ schema principals` print JSON Schemas, by which editors complete and check the files;
`writ schema policy` and `writ schema suite` are for policies and their cases. Save one as a file, and name it in the
first line of your document: `# yaml-language-server: $schema=inventory.json`.

*Made from the structs by `make docs`.*
"""

PLACES: tuple[tuple[str, type[Struct], str], ...] = (
    ("a target: `targets[]`", Target, "target"),
    ("`file_roots[]`", FileRoot, "file_root"),
    ("`backup` of a host", BackupRepository, "backup"),
    ("`docker` of a host", docker.EngineAddress, "engine"),
    ("`connection` of backend `ssh`", ssh.SshConnection, "ssh"),
    ("`connection.become` of backend `ssh`", ssh.Become, "become"),
    ("a jump host: `connection.jump[]`", ssh.JumpHost, "jump"),
    ("`connection` of backend `docker`", docker.EngineConnection, "docker"),
    ("`connection` of backend `proxmox`", proxmox.ProxmoxConnection, "proxmox"),
    ("`backup` of backend `proxmox`", proxmox.BackupStorage, "vzdump"),
    ("a principal: `principals[]`", Principal, "principal"),
)
LOCAL = """\
## `connection` of backend `local`

| key | type | without it | meaning | example |
|---|---|---|---|---|
| `host` | text | the target's id | the machine: its agent serves pool `local-<host>` | `web-1` |
"""
RETRIES = "further attempts to connect: for operations that read, and for previews and other reads before a change"
ENGINE = {
    "socket": ("the engine's Unix socket on its host", "/run/podman/podman.sock"),
    "connect_timeout": ("seconds to connect", "5"),
    "connect_retries": (RETRIES, "3"),
    "reply_timeout": ("seconds in which a read is answered", "15"),
}
MEANINGS: dict[str, dict[str, tuple[str, str]]] = {
    "target": {
        "id": ("its name in requests, rules and the record", "web-1"),
        "role": ("which rules of the policy are about it", "production"),
        "backend": ("how it is reached: `local`, `ssh`, `docker`, `proxmox`, or a plugin's", "ssh"),
        "agent": (
            "the pool whose agents serve it; without it the backend's name, for `local` `local-<host>`",
            "ssh-eu",
        ),
        "attributes": ("values for `target_attributes` of rules", "{team: shop, tier: 1}"),
        "gateway": ("the target of role `gateway` in front of it, whose rules restrict it too", "gw-1"),
        "tags": ("words for `target_tags` of rules and `--tag`", "[web, eu]"),
        "connection": ("how its agent reaches it, by backend; see below", "{host: 192.0.2.7, user: root}"),
        "capabilities": (
            "the operations that it offers, with `*`; without it all of its backend",
            "[service_*, file_read]",
        ),
        "file_roots": ("folders that file operations may use; none: no file operation", "[/srv/www]"),
        "stack_dir": ("the folder with Compose stacks on the host", "/srv/stacks"),
        "backup": ("where backups go; see below", "{repository: /backup, password_file: /etc/restic}"),
        "scan_networks": ("networks that `network_scan` may scan", "[192.0.2.0/24]"),
        "mount_roots": ("folders of the engine's host that containers may mount", "[/srv/data]"),
        "docker": ("a container engine on this host; `{}`: at the usual socket", "{}"),
    },
    "file_root": {
        "path": ("an absolute path; instead of the mapping, the path alone may stand", "/srv/www"),
        "allow_system_root": ("true: the path may be a system folder, such as `/etc`", "true"),
    },
    "backup": {
        "repository": ("a restic repository", "sftp:backup@192.0.2.9:/srv/restic"),
        "password_file": ("the file on the target with its password", "/etc/writ/restic-password"),
        "host": ("the target's host name there", "web-1"),
    },
    "engine": ENGINE,
    "ssh": {
        "host": ("address or name", "192.0.2.7"),
        "user": ("the login", "root"),
        "port": ("", "2222"),
        "host_keys": ("accepted host keys or authorities, in place of the known_hosts file", '["ssh-ed25519 AAAA…"]'),
        "host_key_alias": ("the name under which its key is known", "web-1.example"),
        "jump": ("jump hosts, in order", "[{host: gw.example, user: jump}]"),
        "kex": ("key exchanges, if not the agent's", "[curve25519-sha256]"),
        "ciphers": ("ciphers, if not the agent's", "[chacha20-poly1305@openssh.com]"),
        "macs": ("MACs, if not the agent's", "[hmac-sha2-256-etm@openssh.com]"),
        "connect_timeout": ("seconds for the login, and again for the start of the host's side", "10"),
        "connect_retries": (
            f"{RETRIES}; without it as many before the grant as its time allows, and none after it",
            "3",
        ),
        "keepalive": ("seconds between keepalives", "15"),
        "folder": ("Writ's own folder on the host", "/var/lib/writ-hostops"),
        "become": ("`sudo`, or a mapping: operations that need root run as root", "sudo"),
        "via": ("`tailscale`: only this tailnet peer is accepted", "tailscale"),
        "tailscale_node_key": ("the peer's node key", "nodekey:5a3f…"),
        "tailscale_tags": ("tags that the peer must have, all of them", "[tag:server]"),
    },
    "become": {
        "method": ("", "sudo"),
        "operations": ("the operations that run as root, with `*`; all others stay with the user", '["service_*"]'),
    },
    "jump": {"host": ("", "gw.example"), "user": ("", "jump"), "port": ("", "22")},
    "docker": {
        **ENGINE,
        "host": ("the engine is reached over TLS at this host; needs `ca`", "docker.example"),
        "port": ("", "2376"),
        "ca": ("the authority, or the one certificate, that is trusted, in PEM", '"-----BEGIN CERTIFICATE-----…"'),
    },
    "proxmox": {
        "host": ("any node of the cluster", "pve.example"),
        "port": ("", "8006"),
        "fingerprint": ("the certificate's SHA-256, as Proxmox shows it", '"AB:CD:…"'),
        "ca": ("certificates that are trusted instead, in PEM", '"-----BEGIN CERTIFICATE-----…"'),
        "node": ("only guests on this node", "pve1"),
        "pool": ("only guests of this pool of Proxmox", "web"),
        "tag": ("only guests with this tag", "writ"),
        "storage": ("for disks of guests that `container_create` makes", "local-lvm"),
        "bridge": ("for their network", "vmbr0"),
        "connect_timeout": ("seconds to connect", "5"),
        "connect_retries": (RETRIES, "3"),
    },
    "vzdump": {
        "storage": ("the storage for backups", "backup"),
        "mode": ("of vzdump", "snapshot"),
        "compress": ("of vzdump", "zstd"),
    },
    "principal": {
        "id": ("its name in requests, rules and the record", "alice"),
        "kind": ("a person, an AI agent, a program, or an MCP gateway", "human"),
        "key": ("the public half of its key, as `writ principal add` writes it", "UAB2CB576P…"),
        "roles": ("for `user_roles` of rules, and approvers", "[operator]"),
        "acts_for": ("of an agent: the human it acts for", "alice"),
        "attributes": ("values for evaluators", "{team: shop}"),
        "person": ("of a human with several principals: the id of this person's first one", "alice"),
        "via": ("the gateway whose key may send its requests too; never of a human", "mcp-gateway"),
        "disabled": ("true: it has no access, nor have its agents", "true"),
        "revision": ("a higher one makes this entry count again after `principal_manage` changed it", "2"),
    },
}


def document() -> str:
    """Return the document as Markdown."""
    parts = [HEAD]
    for title, kind, place in PLACES:
        if kind is ssh.SshConnection:
            parts.append(LOCAL)
        parts.append(_table(title, kind, MEANINGS[place]))
    return "\n".join(parts)


def _table(title: str, kind: type[Struct], meanings: dict[str, tuple[str, str]]) -> str:
    lines = [
        f"## {title[0].upper()}{title[1:]}\n",
        "| key | type | without it | meaning | example |",
        "|---|---|---|---|---|",
    ]
    for field in fields(kind):
        meaning, example = meanings.get(field.encode_name, ("", ""))
        shown = f"`{example}`" if example else ""
        lines.append(f"| `{field.encode_name}` | {type_of(field.type)} | {default_of(field)} | {meaning} | {shown} |")
    return "\n".join([*lines, ""])
