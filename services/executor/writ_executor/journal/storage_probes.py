"""Probes of streams in which nothing is stored, and the record of what was refused meanwhile."""

from functools import partial

from writ_bus.port import Store
from writ_contracts import subjects
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import RefusedSummary
from writ_executor.journal.recorder import Recorder
from writ_runtime.journal.storage_watch import StorageWatch
from writ_runtime.journal.watched_bus import WatchedBus

PARAMS_KEY, RESULTS_KEY = "storage-probe", "writ.storage-probe"
"""The keys of probes, which no operation has."""
KEPT_SECONDS = 1.0


class StorageProbes:
    """Give each watch its probe. The journal's is the record of refusals itself; a store's is a tiny value.

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

    async def _store(self, watch: StorageWatch, store: Store, key: str) -> None:
        await store.put(key, b"", ttl=KEPT_SECONDS)
        if watch.refused:
            await self._record_refusals(watch)

    async def _record_refusals(self, watch: StorageWatch) -> None:
        refused = RefusedSummary(
            **self._recorder.stamp(),
            principal=WRIT_TARGET,
            count=watch.refused,
            since=watch.since,
            codes={"not_stored": watch.refused},
        )
        await self._recorder.append_last(subjects.refused_summary(WRIT_TARGET), refused)
