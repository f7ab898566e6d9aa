"""`writ init`: creates an installation and starts nothing. It never overwrites another.

There are two layouts. In one folder, for `writ up` and containers: all is its owner's alone. Split, for services the
system starts: keys are root's; files that services read are root's too and readable for their group; the provisioner's
files (users of NATS, enrolled agents) are the provisioner's. Keys of SSH targets are in a folder of the SSH agent's
user.
"""

import grp
import os
import pwd
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from writ_bus.nats.tls import is_loopback_host
from writ_contracts.errors import ConfigError, Conflict
from writ_documents import atomic_files, yaml_file
from writ_installation.files import ssh_keys
from writ_installation.files.create import add_missing_pools, make_files, make_identity
from writ_installation.files.gateway_tokens import bind_tokens
from writ_installation.files.home import Home
from writ_installation.files.lost_keys import replace_lost_keys
from writ_installation.files.principal_changes import principals_of
from writ_installation.files.site import GROUP, HEAD, TLS_GROUP, Site
from writ_installation.nats.server import configuration, sizes
from writ_installation.processes.services import environment
from writ_installation.server_access.server_address import address_of
from writ_installation.server_access.server_tls import Mode, is_on, own_names, set_up
from writ_installation.status.server_url import running_url

ENVIRONMENT_HEAD = "# What every service of deploy/systemd reads; of one alone: policy.env, executor.env, audit.env.\n"
FOLLOWING = ("WRIT_INSTALLATION", "WRIT_KEYRING", "WRIT_POLICY_KEY", "WRIT_PEOPLE_KEY")
SHARED = 0o2750
"""Mode of a folder whose new files get its group."""


def init(root: Path, site: Site, tls: Mode | None = None) -> Home:
    """Create the installation. Raises Conflict where something exists already, ConfigError where it cannot be
    created.
    """
    home = Home(root, site)
    user = _provisioner_user() if home.split else None
    folders = [home.root, *([home.written, home.store, home.ssh] if home.split else [])]
    _refuse_existing(folders)
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with home.site_file.open("xb"):  # of two at once the first has it
            pass
    except FileExistsError:
        raise Conflict(f"{home.root}: another process is creating an installation there") from None
    try:
        if user is not None:
            _split_folders(home, user)
        atomic_files.save(home.site_file, (HEAD + yaml_file.dump(msgspec.to_builtins(site, str_keys=True))).encode())
        _fill(home, site, tls)
        if user is not None:
            _give(home.written, user)
            if is_on(home):
                _share_certificates(home, user)
    except BaseException:
        for folder in folders:
            _empty(folder)
        raise
    return home


def upgrade(root: Path) -> list[str]:
    """Add the parts that an installation of an earlier version lacks, and keys that were lost; return a line for each.
    Raises ConfigError.
    """
    home = Home(root)
    if not home.principals.exists():
        raise ConfigError(f"{home.root} is not an installation: {home.principals} is missing")
    added = [f"{home.installation_file}: {make_identity(home)}"] if not home.installation else []
    if home.site is not None:
        added += replace_lost_keys(home)
    bind_tokens(home.gateway_tokens, principals_of(home))
    moved: tuple[str, ...] = ()
    if home.site and not home.tls_file.exists() and not is_loopback_host(home.site.listen):
        _offer_tls(home, home.site)
        moved = ("NATS_URL", "WRIT_TLS_CA")
        added.append(f"{home.tls_file}: mode: offered")
    return added + refresh_environment(home, (*FOLLOWING, *moved))


def _offer_tls(home: Home, site: Site) -> None:
    """Have NATS use TLS with clients that support it."""
    user = _provisioner_user() if home.split else None
    set_up(home, "offered", own_names(site.listen, site.url), time.time())
    if user is not None:
        _share_certificates(home, user)


def refresh_environment(home: Home, names: Sequence[str] = FOLLOWING) -> list[str]:
    """Bring the lines of `writ.env` that follow from other files up to date; return a line for each change."""
    if not home.split:
        return []
    file, current = home.root / "writ.env", environment(home, running_url(home) or "")
    lines = file.read_text().splitlines(keepends=True)
    changed = [line for name in names if (line := f"{name}={current[name]}\n") not in lines]
    replaced = {line.partition("=")[0] for line in changed}
    if changed:
        kept = (one for one in lines if one.partition("=")[0] not in replaced)
        atomic_files.save(file, "".join([*kept, *changed]).encode())
    return [f"{file}: {line.rstrip()}" for line in changed]


def _refuse_existing(folders: list[Path]) -> None:
    for folder in folders:
        if folder.exists() and any(folder.iterdir()):
            raise Conflict(
                f"{folder} is not empty: nothing was created. An installation is never created over another one"
            )


def _provisioner_user() -> pwd.struct_passwd:
    """Return the provisioner's user, whose name is that of the reading group. Raises ConfigError."""
    if os.geteuid() != 0:
        raise ConfigError("services that systemd starts need an installation that root created")
    ssh_keys.agent_user()
    try:
        grp.getgrnam(GROUP)
        return pwd.getpwnam(GROUP)
    except KeyError:
        raise ConfigError(_missing(f"user and group {GROUP}")) from None


def _split_folders(home: Home, user: pwd.struct_passwd) -> None:
    for folder in (home.root, home.tokens, home.written, home.nats, home.enrolled, home.run, home.certificates):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 0, user.pw_gid)
        folder.chmod(SHARED)
    home.keys.mkdir(mode=0o700)
    os.chown(home.keys, 0, 0)
    ssh_keys.make_folder(home)


def _fill(home: Home, site: Site, tls: Mode | None) -> None:
    if not home.split:
        home.make_folders()
    make_files(home)
    if tls is not None or not is_loopback_host(site.listen):
        set_up(home, tls or "required", own_names(site.listen, site.url), time.time())
    if home.split:
        _write_environment(home, running_url(home) or "")
    else:  # elsewhere the hosts of agents make their own, and enrol
        add_missing_pools(home)
    atomic_files.save(home.server_config, configuration(home, address_of(site)).encode())
    sizes(home)


def _write_environment(home: Home, url: str) -> None:
    """Write the paths for the units."""
    values = {**environment(home, url), "SYSTEMMANAGER_POLICY_CONFIG": str(home.policy), "WRIT_LOG_FORMAT": "json"}
    text = ENVIRONMENT_HEAD + "".join(f"{name}={value}\n" for name, value in values.items())
    atomic_files.save(home.root / "writ.env", text.encode())


def _give(folder: Path, to: pwd.struct_passwd) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, to.pw_uid, to.pw_gid, follow_symlinks=False)


def _share_certificates(home: Home, user: pwd.struct_passwd) -> None:
    """Let NATS's user, and no other service, read the keys of its certificates. Raises ConfigError."""
    try:
        group = grp.getgrnam(TLS_GROUP).gr_gid
    except KeyError:
        raise ConfigError(_missing(f"group {TLS_GROUP}")) from None
    home.certificates.mkdir(exist_ok=True)
    for path in (home.certificates, *home.certificates.iterdir()):
        os.chown(path, user.pw_uid, group)
    home.certificates.chmod(SHARED)


def _missing(party: str) -> str:
    return (
        f"there is no {party}: install deploy/systemd/writ.sysusers as /etc/sysusers.d/writ.conf, "
        "and run systemd-sysusers"
    )


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
