"""Where everything is in `$WRIT_HOME`. Folders are 0700 and files 0600: keys and the record are in here."""

import os
import re
import socket
from pathlib import Path

from writ_contracts.errors import Invalid
from writ_contracts.ids import TOKEN_PATTERN
from writ_runtime.config import ConfigError
from writ_runtime.files import read_private
from writ_runtime.service import write_atomically
from writ_trust.keys import Key, generate_seed

_token = re.compile(TOKEN_PATTERN).search


class Home:
    """One installation's folder. Nothing is made until it is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.keys = self.root / "keys"
        self.log = self.root / "log"
        self.run = self.root / "run"
        self.state = self.root / "state"
        self.nats = self.root / "nats"
        self.sandbox = self.root.parent / "writ-sandbox"
        """What file operations may use at first; no folder of Writ itself may be that."""
        self.policy = self.root / "policy.yaml"
        self.inventory = self.root / "inventory.yaml"
        self.principals = self.root / "principals.yaml"
        self.agents = self.root / "agents.yaml"
        self.params_key = self.keys / "params.key"
        self.server_config = self.nats / "server.conf"
        self.house_file = self.run / "house.json"
        self.lock = self.run / "lock"

    def make_folders(self) -> None:
        """Every folder, for the owner alone. ConfigError where one is somebody else's, who could change it."""
        folders = (self.root, self.keys, self.log, self.run, self.state, self.nats)
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.geteuid():
                raise ConfigError(f"{folder}: belongs to somebody else (uid {folder.stat().st_uid})")
            folder.chmod(0o700)

    def seed_file(self, name: str) -> Path:
        """Where the private key of that name is: a service, `agent-<pool>`, `principal-<id>`."""
        if not _token(name):
            raise Invalid(f"{name[:80]!r} cannot name a key")
        return self.keys / f"{name}.seed"

    def key(self, name: str) -> Key:
        """The key of that name; ConfigError when it isn't there or others can read it."""
        path = self.seed_file(name)
        try:
            return Key(read_private(path))
        except Invalid as error:
            raise ConfigError(f"{path}: {error}") from error

    def make_key(self, name: str) -> Key:
        """The key of that name, made now if there is none."""
        path = self.seed_file(name)
        if not path.exists():
            self.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, generate_seed() + b"\n")
        return self.key(name)


def host_token() -> str:
    """This machine's name as a token that can be part of a subject."""
    name = socket.gethostname().partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:48] or "this-host"


def is_here(host: str) -> bool:
    """Whether a target's host is this machine."""
    return host in {socket.gethostname(), host_token(), "localhost"}
