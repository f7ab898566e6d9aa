"""Backup of a whole `$WRIT_HOME` to one file, with Writ running or not, and restore from it elsewhere.

The server packs each stream as of one moment, the journal first. So streams that are packed later hold everything the
packed events name. The agents' own state is left out on purpose: an old state would let them forget operations they
have done. Unfinished operations are closed when Writ starts from the file; see `writ_executor.rounds.restore_recovery`.
"""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from msgspec import Struct

from writ_bus.nats.bus import NatsBus
from writ_contracts import subjects
from writ_contracts.errors import Conflict, Invalid, Unreachable
from writ_contracts.installation.restore_marker import FILE, RestoreMarker
from writ_documents.atomic_files import DRAFT, sync_folder, write_atomically
from writ_installation.archives.journal import bootstrapped
from writ_installation.files.home import Home
from writ_installation.files.lock import holder
from writ_installation.nats.external_server import external_configuration
from writ_installation.server_access.server_address import ServerAddress
from writ_installation.status.reached_server import reached_server
from writ_nats_server import snapshots
from writ_nats_server.snapshots import StreamInfo
from writ_proof.bundles import MANIFEST, Bundle, BundleWriter, DamagedBundle, Member

FORMAT = "writ.backup.v1"
COPIED = "stop them, and copy the folders as docs/operating/backup-and-restore.md says"
_FILES, _PACKED = "home/", "streams/"


class PackedStream(Struct, frozen=True, kw_only=True):
    """One stream in the file."""

    name: str
    member: str
    info: StreamInfo


class BackupManifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`last`: the last event of the journal in the backup; `policy_key`: public key that identifies the
    installation.
    """

    format: str
    id: str
    made_at: float
    policy_key: str
    last: int
    streams: list[PackedStream]
    members: list[Member]


async def back_up(home: Home, path: Path, url: str | None, show: Callable[[str], None]) -> BackupManifest:
    """Write the backup. `url`: a NATS server that somebody else runs. Raises WritError, BusError."""
    if home.written != home.root:
        raise Invalid(f"the system starts the services of {home.root}: {COPIED}")
    if home.servers.is_dir():
        raise Invalid(f"{home.root} is of containers: {COPIED}")
    home.key("policy")
    path = Path(os.path.abspath(path))  # noqa: ASYNC240, PTH100 - no look at the disk
    with BundleWriter(path) as writer:
        async with reached_server(home, url, show) as server, bootstrapped(home, server.url, server.environ) as bus:
            streams, members = await _pack(bus, writer)
        for file in sorted(_files(home, leaving_out=path)):
            members.append(writer.put(_FILES + file.relative_to(home.root).as_posix(), file.read_bytes()))
        manifest = BackupManifest(
            format=FORMAT,
            id=secrets.token_hex(16),
            made_at=time.time(),
            policy_key=home.key("policy").public,
            last=int(streams[0].info.state["last_seq"]),
            streams=streams,
            members=members,
        )
        writer.put(MANIFEST, msgspec.json.encode(manifest))
        writer.publish()
    return manifest


async def _pack(bus: NatsBus, writer: BundleWriter) -> tuple[list[PackedStream], list[Member]]:
    streams, members = list[PackedStream](), list[Member]()
    for name in subjects.STREAMS:
        member = f"{_PACKED}{name}.snapshot"
        with writer.member(member) as sink:
            info = await snapshots.take(bus, name, sink.write)
        streams.append(PackedStream(name=name, member=member, info=info))
        members.append(Member(name=member, bytes=sink.bytes, sha256=sink.sha256))
    return streams, members


def _files(home: Home, leaving_out: Path) -> Iterator[Path]:
    """Yield the files to back up: keys, lists and settings.

    Left out are logs, run files, the state of agents and audit, the streams, and files in the middle of a write.
    One-time tokens are left out too: a token that was used or revoked afterwards would be valid again.
    """
    others = (home.log, home.run, home.state, home.store, home.server_config, home.tokens)
    drafts = {leaving_out, leaving_out.with_name(f"{leaving_out.name}.partial")}
    for folder, names, files in os.walk(home.root):
        here = Path(folder)
        names[:] = [name for name in names if here / name not in others]
        for name in files:
            file = here / name
            if file not in others and file not in drafts and not name.endswith(DRAFT) and file.is_file():
                yield file


def read_manifest(path: Path) -> BackupManifest:
    """Return a backup's manifest, after comparing it with the whole content. Raises DamagedBundle."""
    with Bundle(path, "backup") as bundle:
        try:
            manifest = msgspec.json.decode(bundle.read(MANIFEST), type=BackupManifest)
        except msgspec.DecodeError as error:
            raise DamagedBundle(f"{path}: it is not a backup: its manifest is not valid: {error}") from error
        if manifest.format != FORMAT or tuple(one.name for one in manifest.streams) != subjects.STREAMS:
            raise DamagedBundle(f"{path}: it is not a backup that this version of Writ can read")
        bundle.must_have(MANIFEST, *(member.name for member in manifest.members))
        for member in manifest.members:
            if bundle.digest(member.name) != member.sha256:
                raise DamagedBundle(f"{path}: {member.name} differs from its digest in the backup")
            _inside(path, member.name)
    return manifest


def _inside(path: Path, name: str) -> PurePosixPath:
    """Return a member's path below the home. Raises DamagedBundle for one that leads out of it."""
    member_path = PurePosixPath(name.removeprefix(_FILES))
    known = name.startswith((_FILES, _PACKED))
    if not known or member_path.is_absolute() or ".." in member_path.parts or not member_path.parts:
        raise DamagedBundle(f"{path}: {name} is not a path within an installation")
    return member_path


async def restore(home: Home, path: Path, url: str | None, show: Callable[[str], None]) -> BackupManifest:
    """Restore a home into an empty or missing folder; whole, or not at all. Raises WritError, BusError."""
    _must_be_empty(home)
    manifest = await asyncio.to_thread(read_manifest, path)
    draft = draft_of(home)
    try:
        await _restore(Home(draft), path, manifest, url, show)
        _must_be_empty(home)
        sync_folder(draft)
        draft.rename(home.root)
        sync_folder(home.root.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


async def configuration_of(home: Home, path: Path, address: ServerAddress) -> str:
    """Return the configuration that servers of somebody else's need before this backup can be restored on them. Raises
    WritError.

    Its store is beside the home, which is empty until the restore and is replaced by it.
    """
    manifest = await asyncio.to_thread(read_manifest, path)
    draft = Home(draft_of(home))
    try:
        await asyncio.to_thread(_restore_files, draft, path, manifest)
        store = home.root.with_name(f"{home.root.name}-nats")
        text = external_configuration(draft, address).replace(str(draft.store), str(store))
        return text.replace(str(draft.root), str(home.root))
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)


def draft_of(home: Home) -> Path:
    """Return a new folder beside the home, owned by us. Raises Conflict where that is impossible."""
    draft = home.root.with_name(f".{home.root.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)  # what a killed one left; not a link, nor what is another user's
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.mkdir(mode=0o700)
    except FileExistsError:
        raise Conflict(f"{draft} exists and cannot be removed: it belongs to another user") from None
    return draft


def _must_be_empty(home: Home) -> None:
    if holder(home.lock) is not None:
        raise Conflict(f"Writ is up on {home.root}: a backup is restored into an empty folder")
    if home.root.exists() and (not home.root.is_dir() or any(home.root.iterdir())):
        raise Conflict(f"{home.root} is not empty: a backup is restored into an empty folder")
    if home.root.is_mount():
        raise Conflict(
            f"{home.root} is a mount point, which cannot be replaced by a folder: restore into a folder in it"
        )


async def _restore(
    draft: Home, path: Path, manifest: BackupManifest, url: str | None, show: Callable[[str], None]
) -> None:
    _restore_files(draft, path, manifest)
    with Bundle(path, "backup") as bundle:
        async with reached_server(draft, url, show) as server, bootstrapped(draft, server.url, server.environ) as bus:
            await _restore_streams(bus, path, manifest, bundle)
    now = RestoreMarker(backup=manifest.id, made_at=manifest.made_at, restored_at=time.time(), last=manifest.last)
    write_atomically(draft.root / FILE, msgspec.json.encode(now))


def _restore_files(draft: Home, path: Path, manifest: BackupManifest) -> None:
    draft.make_folders()
    with Bundle(path, "backup") as bundle:
        for member in manifest.members:
            if member.name.startswith(_FILES):
                file = draft.root / _inside(path, member.name)
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(file, b"".join(bundle.chunks(member.name)))  # of any size, as it was packed
    if draft.key("policy").public != manifest.policy_key:
        raise DamagedBundle(f"{path}: its policy key differs from the one in its manifest")


async def _restore_streams(bus: NatsBus, path: Path, manifest: BackupManifest, bundle: Bundle) -> None:
    """Restore all streams or none: a part of them on one's own server would block the next attempt."""
    made: list[str] = []
    try:
        for stream in manifest.streams:
            state = await snapshots.restore(bus, stream.name, stream.info, bundle.chunks(stream.member))
            made.append(stream.name)
            _compare(path, stream, state)
    except BaseException:
        for name in made:
            await snapshots.remove(bus, name)
        raise


def _compare(path: Path, stream: PackedStream, state: dict[str, Any]) -> None:
    """Check that the journal and policies are complete; other streams may have lost expired messages."""
    kept = stream.name in (subjects.JOURNAL_STREAM, subjects.POLICIES_STREAM)
    expected = [stream.info.state.get(name) for name in ("first_seq", "last_seq", "messages")]
    if kept and [state.get(name) for name in ("first_seq", "last_seq", "messages")] != expected:
        raise Unreachable(f"{path}: the server has {state} of {stream.name}, and the backup {stream.info.state}")
