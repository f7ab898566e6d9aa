"""The limits of the streams, chosen from the disk of a new installation and kept in `sizes.json`."""

import shutil

import msgspec

from writ_contracts.errors import ConfigError
from writ_documents import atomic_files
from writ_installation.files.home import Home
from writ_installation.nats.disk import MEGABYTE
from writ_nats_server.streams import Sizes

LEAST, LEAST_POLICIES = 4 * MEGABYTE, 8 * MEGABYTE
"""A stream holds more than the largest message, of 2 MiB. Versions of the policy are never removed."""


def sizes_for(free: int, replicas: int = 1) -> Sizes:
    """Return the limits for a disk with so many free bytes. They fit one with 44 MB: streams that may outgrow it would
    be reported for as long as the installation is there.
    """
    unit = min(MEGABYTE, free // 180)
    return Sizes(
        journal=max(min(8 << 30, free // 3), 64 * unit, LEAST),
        params=max(min(256 * MEGABYTE, free // 32), 16 * unit, LEAST),
        results=max(min(512 * MEGABYTE, free // 16), 16 * unit, LEAST),
        policies=max(min(256 * MEGABYTE, free // 64), 16 * unit, LEAST_POLICIES),
        scans=max(min(64 * MEGABYTE, free // 128), 8 * unit, LEAST),
        replicas=replicas,
    )


def sizes(home: Home, replicas: int = 1) -> Sizes:
    """Return the limits of the streams: chosen once from the disk's free space, then kept in a file that may be
    edited.
    """
    path = home.sizes
    if path.exists():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Sizes)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}: {error}") from error
    free = shutil.disk_usage(home.nats).free // replicas  # each server has all of it
    chosen = sizes_for(free, replicas)
    atomic_files.save(path, msgspec.json.format(msgspec.json.encode(chosen)))
    return chosen
