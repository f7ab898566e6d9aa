"""The built-in operations on targets, and Writ's own control operations.

Plugins add theirs beside these. One definition here gives validation, schema, help and policy's view of an operation. A
field without a class is secret.
"""

from writ_contracts.catalogue import (
    backups,
    containers,
    control,
    files,
    guests,
    network,
    packages,
    services,
    snapshots,
    stacks,
)
from writ_contracts.operations import Operation

CONTROL: tuple[Operation, ...] = control.OPERATIONS
"""Operations on Writ itself, which executors carry out."""

BUILT_IN: tuple[Operation, ...] = (
    *services.OPERATIONS,
    *containers.OPERATIONS,
    *stacks.OPERATIONS,
    *backups.OPERATIONS,
    *snapshots.OPERATIONS,
    *files.OPERATIONS,
    *network.OPERATIONS,
    *packages.OPERATIONS,
    *guests.OPERATIONS,
    *CONTROL,
)
