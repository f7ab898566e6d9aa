"""Write a long journal: operations as executors write them, put straight into the stream while the services follow.

The server syncs only now and then meanwhile, or a million events would take minutes. Each operation's events are in one
batch, so that no service reads one that is overdue.
"""

from collections.abc import Iterator
from pathlib import Path

from bench.audit import operation
from bench.end_to_end import ENVIRON
from writ_bus.nats.bus import connect
from writ_bus.nats.connection import Options
from writ_bus.port import Entry
from writ_contracts.subjects import inbox_prefix, operation_filter, parse_event
from writ_contracts.wire import encode
from writ_installation.files.home import Home
from writ_installation.nats.server import configuration, free_port
from writ_installation.server_access.server_address import ServerAddress
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, running_installation

EACH = 4
"""Events of an operation."""
AT_ONCE = 200
"""Operations in a batch. The server accepts a thousand messages in one."""


async def write(home: Home, folder: Path, first: int, last: int) -> None:
    """Write operations `first` to `last` (exclusive), read by every service, into the journal of a stopped
    installation.
    """
    address = ServerAddress(host="127.0.0.1", port=free_port(), monitor_port=free_port())
    config = folder / "loose.conf"
    config.write_text(configuration(home, address).replace('"sync_interval": "always"', '"sync_interval": "2m"'))
    server = await ServerProcess.start(
        config, folder / "loose.log", port=address.port, monitor_port=address.monitor_port
    )
    try:
        async with running_installation(
            folder, home=home, environ={**ENVIRON, "NATS_URL": address.url}
        ) as installation:
            await _append(installation, first, last)
            await eventually(lambda: _all_read(installation), within=60, what="everybody at the journal's end")
    finally:
        await server.stop()


async def _append(installation: RunningInstallation, first: int, last: int) -> None:
    executor = installation.home.key("executor")
    options = Options(
        name="writ-history", servers=[installation.url], seed=executor.seed, inbox_prefix=inbox_prefix("executor")
    )
    bus = await connect(options)
    try:
        for start in range(first, last, AT_ONCE):
            await bus.journal.append_together(list(_entries(start, min(start + AT_ONCE, last))))
    finally:
        await bus.close()


def _entries(first: int, last: int) -> Iterator[Entry]:
    for number in range(first, last):
        for subject, event in operation(number):
            where = parse_event(subject)
            assert where is not None
            mine = operation_filter(where.principal, where.operation_id)
            yield Entry(subject=subject, data=encode(event), event_id=event.id, filter=mine, expected=0)


async def _all_read(installation: RunningInstallation) -> bool:
    """Wait until executors and audit have read all events: only then they are ready."""
    return (await installation.writ("status")).status == 0
