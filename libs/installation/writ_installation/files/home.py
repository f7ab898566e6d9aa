"""Paths in `$WRIT_HOME`. Folders are 0700 and files 0600: keys and the journal are in here."""

import os
import re
import socket
import sys
from pathlib import Path

from msgspec import Struct

from writ_bus.private_files import read_private
from writ_contracts.backends import SSH
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.ids import TOKEN_PATTERN, InstallationId
from writ_contracts.installation.keyring import Keyring
from writ_documents import shapes, yaml_file
from writ_documents.atomic_files import write_atomically
from writ_installation.backends import AGENT_KINDS
from writ_installation.files.site import Site, read_site
from writ_runtime.files.policy_keys import read_keyring
from writ_trust.keys import Key, generate_seed

_token = re.compile(TOKEN_PATTERN).search


OPERATOR = "operator"
"""The first principal."""
PEOPLE = "people"
"""The name of the people-key in `public.yaml`."""


class Identity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `installation.yaml`."""

    id: InstallationId


class Home:
    """One installation's folder. Nothing is created before it is needed."""

    def __init__(self, root: Path, site: Site | None = None, keys: Path | None = None) -> None:
        """Use `site`, otherwise the site file in the folder. `keys`: their folder, if elsewhere.

        Raises ConfigError for a bad site file.
        """
        self.root = root.absolute()
        self.site_file = self.root / "site.yaml"
        self.site = site or read_site(self.site_file)
        written = Path(self.site.state) if self.site and self.site.state else self.root
        self.written = written
        """Parent of the files the provisioner writes."""
        self.keys = keys or self.root / "keys"
        self.ssh = self.credentials(SSH)
        """Private keys of SSH targets, each named as its target."""
        self.log = written / "log"
        self.run = written / "run"
        self.state = written / "state"
        self.nats = written / "nats"
        self.store = Path(self.site.store) if self.site and self.site.store else self.nats / "jetstream"
        """The journal's folder, as the NATS server sees it."""
        self.sandbox = written.parent / "writ-sandbox"
        """Initial folder for file operations; it may be no folder of Writ itself."""
        self._name_files(written)
        self._name_server_files(written)

    def credentials(self, backend: str) -> Path:
        """Return the folder with the credentials of a backend's targets, one file for each."""
        kind = AGENT_KINDS.get(backend)
        apart = self.split and kind is not None and kind.apart
        return self.root.with_name(f"{self.root.name}-{backend}") if apart else self.keys / backend

    def _name_files(self, written: Path) -> None:
        self.config = self.root / "config" if (self.root / "config").is_dir() else self.root
        """The files that people edit; in a folder `config`, if there is one, so that it alone can be mounted."""
        self.policy = self.config / "policy.yaml"
        self.inventory = self.config / "inventory.yaml"
        self.principals = self.config / "principals.yaml"
        self.joined = self.root / "joined" if (self.root / "joined").is_dir() else self.config
        """The folder of the list of agents, if it exists: a provisioner in a container may write there."""
        self.agents = (written if self.split else self.joined) / "agents.yaml"
        self.principal_changes = (written if self.split else self.joined) / "principal-changes.json"
        """Changes of principals by operations, as the provisioner read them from the journal."""
        self.sessions = (written if self.split else self.joined) / "sessions.json"
        """Sessions, as the provisioner read them from the journal."""
        self.notifications = self.config / "notifications.yaml"
        """Where audit sends notifications, if it exists."""
        self.leaves = self.config / "leaves.yaml"
        """Sites whose leaf nodes connect to our NATS server."""
        self.gateway_tokens = self.config / "gateway-tokens.json"
        """Digests of the bearer tokens of the MCP gateway's clients."""
        self.public_file = self.config / "public.yaml"
        self.keyring_file = self.config / "keyring.json"
        """The public keys that were rotated, each with the range for which it counts."""
        self.former_policy_keys = self.config / "policy-former-keys"  # see lost_policy_key.py
        self.people_file = self.config / "people.json"
        """The signed directory of people's credentials."""
        self.people_seed = self.root / "people" / "people.seed"
        """The key that signs it, apart from those of services: no process of Writ reads it."""
        self.installation_file = self.config / "installation.yaml"
        """The installation's id, which every signed statement names."""
        self.params_key = self.keys / "params.key"
        self.tokens = self.root / "tokens"
        """One-time tokens of agents' hosts, by their public halves."""
        self.enrolled = written / "enrolled"
        """The key for which each token was used."""
        self.report_file = self.run / "supervisor.json"
        self.lock = self.run / "lock"

    def _name_server_files(self, written: Path) -> None:
        self.server_config = self.nats / "server.conf"
        self.sizes = self.nats / "sizes.json"
        self.servers = self.root / "servers"
        """Configurations of NATS servers in containers, one for each server."""
        self.tls_file = self.config / "tls.yaml"
        """The mode of NATS's TLS, and the names of its servers."""
        self.ca_file = self.config / "ca.pem"
        """The certificate of the installation's CA, which every client trusts."""
        self.ca_key = self.keys / "ca.key"
        self.certificates = (self.servers if self.servers.is_dir() else written) / "tls"
        """Certificates of NATS's servers and their keys, the highest number in use."""

    @property
    def streams_lock(self) -> Path:
        """The lock for changes to the configuration of a stream."""
        return self.run / "streams.lock"

    @property
    def split(self) -> bool:
        """Return whether the system, not `writ up`, starts its services, each as a user of its own."""
        return self.site is not None and self.site.split

    @property
    def in_containers(self) -> bool:
        """Return whether its services run in containers, by docker-compose.yml."""
        return self.servers.is_dir()

    def make_folders(self) -> None:
        """Make every folder, for the owner alone. ConfigError where one belongs to somebody else, who could change
        it.
        """
        folders = (self.root, self.keys, self.log, self.run, self.state, self.nats)
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.geteuid():
                raise ConfigError(f"{folder}: belongs to another user (uid {folder.stat().st_uid})")
            folder.chmod(0o700)

    @property
    def installation(self) -> str:
        """Return the installation's id; empty where there is none yet. Raises ConfigError."""
        if not self.installation_file.exists():
            return ""
        return shapes.convert(yaml_file.read(self.installation_file), Identity).id

    def seed_file(self, name: str) -> Path:
        """Return the path of the private key of this name: a service, `agent-<pool>`, `principal-<id>`."""
        if not _token(name):
            raise Invalid(f"{name[:80]!r} cannot name a key")
        return self.keys / f"{name}.seed"

    def key(self, name: str) -> Key:
        """Return the key of this name; ConfigError when it is missing or others can read it."""
        path = self.seed_file(name)
        try:
            return Key(read_private(path), self.installation)
        except Invalid as error:
            raise ConfigError(f"{path}: {error}") from error

    def public(self, name: str) -> str:
        """Return the public half of a service's key, also to processes that may not read the private one. Raises
        ConfigError.
        """
        if os.access(self.seed_file(name), os.R_OK):
            return self.key(name).public
        return self.written_public(name)

    def written_public(self, name: str) -> str:
        """Return the public half of a service's key as `public.yaml` has it. Raises ConfigError."""
        known = yaml_file.read(self.public_file).data
        if not isinstance(known, dict) or name not in known:
            raise ConfigError(f"{self.public_file}: has no key of {name}")
        return str(known[name])

    def keyring(self) -> Keyring:
        """Return the rotated keys; none before the first rotation. Raises ConfigError."""
        return read_keyring(self.keyring_file)[1] if self.keyring_file.exists() else Keyring()

    def keys_of(self, name: str) -> list[str]:
        """Return the valid public keys of a service: the one in use, and others during a rotation. A key that was
        rotated away is not valid, also if an older copy of its file was put back. Raises ConfigError.
        """
        ring = self.keyring()
        known = dict.fromkeys([self.public(name), *ring.live(name)])
        return [key for key in known if key not in ring.former(name)]

    def policy_keys(self) -> dict[str, int]:
        """Return policy's public keys, each with the last event of the journal for which it counts: the one in use,
        then earlier ones. Raises ConfigError.
        """
        return {self.public("policy"): sys.maxsize, **self.keyring().events("policy")}

    def people_key(self) -> str:
        """Return the public half of the people-key; "" where none is known."""
        try:
            return self.public(PEOPLE)
        except ConfigError:
            return ""

    def make_key(self, name: str) -> Key:
        """Return the key of this name, made now if there is none."""
        path = self.seed_file(name)
        if not path.exists():
            self.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, generate_seed() + b"\n")
        return self.key(name)


def host_token() -> str:
    """Return this machine's name as a valid subject token."""
    name = socket.gethostname().partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:48] or "this-host"


def is_here(host: str) -> bool:
    """Return whether a target's host is this machine."""
    return host in {socket.gethostname(), host_token(), "localhost"}
