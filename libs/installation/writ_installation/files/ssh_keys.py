"""The folder of SSH targets' private keys, one file for each target. Only their agent's user can read them.

In a split installation the folder is beside it, since the SSH agent may not enter the services' folders.
"""

import os
import pwd
from pathlib import Path

from writ_contracts.errors import ConfigError
from writ_documents.atomic_files import write_atomically
from writ_installation.files.home import Home
from writ_installation.files.site import SSH_AGENT


def make_folder(home: Home) -> None:
    """Make the folder where it is missing; in any case it is nobody else's. Raises ConfigError."""
    agent = agent_user() if home.split else None
    home.ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
    if agent is not None:
        os.chown(home.ssh, 0, agent.pw_gid)
        home.ssh.chmod(0o750)


def put(home: Home, name: str, private: bytes, public: bytes) -> Path:
    """Write the target's key and its public half; return the private key's file. Raises ConfigError."""
    path = put_secret(home, name, private)
    put_public(home, name, public)
    return path


def put_public(home: Home, name: str, public: bytes) -> Path:
    """Write the public half of the target's key; return the place of the private one. Raises ConfigError."""
    make_folder(home)
    path = home.ssh / name
    write_atomically(path.with_name(f"{name}.pub"), public)
    return path


def put_secret(home: Home, name: str, secret: bytes) -> Path:
    """Write a file readable for the agent's user alone, and return it. Raises ConfigError."""
    make_folder(home)
    path = home.ssh / name
    write_atomically(path, secret)
    if home.split:
        agent = agent_user()
        os.chown(path, agent.pw_uid, agent.pw_gid)
    return path


def agent_user() -> pwd.struct_passwd:
    """Return the user permitted to read them. Raises ConfigError."""
    try:
        return pwd.getpwnam(SSH_AGENT)
    except KeyError:
        raise ConfigError(
            f"there is no user {SSH_AGENT}: install deploy/systemd/writ.sysusers as /etc/sysusers.d/writ.conf, "
            "and run systemd-sysusers"
        ) from None
