"""Probes of streams in which nothing is stored, and the record of what was refused meanwhile."""

from functools import partial

from writ_bus import tasks
from writ_bus.port import Store
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import RefusedSummary
from writ_executor.journal.recorder import Recorder
from writ_runtime.journal.storage_watch import PARAMS_KEY, RESULTS_KEY, StorageWatch
from writ_runtime.journal.watched_bus import WatchedBus
from writ_runtime.logs import Log

KEPT_SECONDS = 1.0
_log = Log("writ.storage")


class StorageProbes:
    """Give each watch its probe. The journal's is the record of refusals itself; a store's is a tiny value, also while
    nothing else is written.

    The stream of policy versions keeps all it gets, so it has none.
    """

    def __init__(self, bus: WatchedBus, unwatched: Recorder) -> None:
        """`unwatched`: stores while the storage is judged to be broken."""
        self._recorder = unwatched
        journal, stores = bus.watches[subjects.JOURNAL_STREAM], bus.unwatched
        params, results = bus.watches[subjects.PARAMS_STREAM], bus.watches[subjects.RESULTS_STREAM]
        journal.probe = partial(self._record_refusals, journal)
        params.probe = partial(self._store, params, stores.params, PARAMS_KEY)
        results.probe = partial(self._store, results, stores.results, RESULTS_KEY)
        params.idle_probe = partial(stores.params.put, PARAMS_KEY, b"", ttl=KEPT_SECONDS)
        results.idle_probe = partial(stores.results.put, RESULTS_KEY, b"", ttl=KEPT_SECONDS)

    async def _store(self, watch: StorageWatch, store: Store, key: str) -> None:
        await store.put(key, b"", ttl=KEPT_SECONDS)
        if watch.refused:  # writes go on meanwhile
            tasks.spawn(self._record_or_log(watch.stream, self._summary(watch)), "refused writes")

    async def _record_or_log(self, stream: str, refused: RefusedSummary) -> None:
        try:
            await self._record(refused)
        except WritError as error:
            _log.warning("storage.refusals_not_recorded", stream=stream, count=refused.count, error=str(error))

    async def _record_refusals(self, watch: StorageWatch) -> None:
        await self._record(self._summary(watch))

    def _summary(self, watch: StorageWatch) -> RefusedSummary:
        return RefusedSummary(
            **self._recorder.stamp(),
            principal=WRIT_TARGET,
            count=watch.refused,
            since=watch.since,
            codes={"not_stored": watch.refused},
        )

    async def _record(self, refused: RefusedSummary) -> None:
        await self._recorder.append_last(subjects.refused_summary(WRIT_TARGET), refused)
