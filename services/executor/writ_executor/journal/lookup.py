"""Finding an operation: in the index, else in the journal."""

from writ_bus.port import Bus
from writ_contracts.errors import Invalid
from writ_contracts.journal import Granted, PreviewTaken
from writ_contracts.life import Life, State
from writ_contracts.people.previews import Preview
from writ_contracts.subjects import any_operation_filter, operation_filter, parse_event
from writ_contracts.wire import event_of
from writ_executor.journal.follower import read_life
from writ_executor.journal.index import Index
from writ_executor.metrics import ExecutorMeasures
from writ_trust.statements import digest, read


class OperationTable:
    """Operations by id, and by principal where it is known."""

    def __init__(self, bus: Bus, index: Index, measures: ExecutorMeasures) -> None:
        self._bus = bus
        self._index = index
        self._measures = measures

    def known(self, operation_id: str) -> Life | None:
        """Return an open or lately ended operation."""
        return self._index.get(operation_id)

    def cached(self, principal: str, operation_id: str) -> Life | None:
        """Return the operation if the index has it, perhaps a few milliseconds old; else None."""
        life = self._index.get(operation_id)
        if life is None or _principal(life) != principal:
            return None
        self._measures.looked_up(hit=True)
        return life

    async def find(self, principal: str, operation_id: str) -> Life:
        """Return the operation, perhaps a few milliseconds old. Raises Invalid (`not_found`)."""
        return self.cached(principal, operation_id) or await self.fresh(principal, operation_id)

    async def fresh(self, principal: str, operation_id: str) -> Life:
        """Return the operation as the journal has it now. Raises Invalid (`not_found`)."""
        self._measures.looked_up(hit=False)
        life = await read_life(self._bus, principal, operation_id)
        if life.state is State.ABSENT:
            raise Invalid(f"{principal} has no operation {operation_id}", code="not_found")
        self._index.put(life)
        return life

    async def start_of(self, principal: str, operation_id: str, attempt: int) -> Granted | None:
        """Return the start of an earlier attempt, or None."""
        for record in await self._bus.journal.read(operation_filter(principal, operation_id)):
            event = event_of(record.subject, record.data)
            if isinstance(event, Granted) and event.attempt == attempt:
                return event
        return None

    async def preview_of(self, operation_id: str, preview: str) -> Preview | None:
        """Return the recorded preview with this digest, or None. It was verified before it was recorded."""
        principal, _ = await self.find_any(operation_id)
        for record in await self._bus.journal.read(operation_filter(principal, operation_id)):
            event = event_of(record.subject, record.data)
            if isinstance(event, PreviewTaken) and digest(event.preview) == preview:
                return read(event.preview, Preview)
        return None

    async def find_any(self, operation_id: str) -> tuple[str, Life]:
        """Return (principal, operation) of any requester. Raises Invalid (`not_found`)."""
        life = self._index.get(operation_id)
        if life is not None:
            self._measures.looked_up(hit=True)
            return _principal(life), life
        records = await self._bus.journal.read(any_operation_filter(operation_id), limit=1)
        where = parse_event(records[0].subject) if records else None
        if where is None:
            raise Invalid(f"there is no operation {operation_id}", code="not_found")
        return where.principal, await self.fresh(where.principal, operation_id)


def _principal(life: Life) -> str:
    what = life.what
    return what.principal if what else ""
