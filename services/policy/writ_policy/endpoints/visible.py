"""The targets and operations that a principal may list, for executors."""

import asyncio
import time

from writ_bus.port import Endpoint, Message
from writ_contracts import subjects
from writ_contracts.policy.listing import VisibleReply, VisibleRequest
from writ_contracts.wire import decode
from writ_policy.decisions.judge_factory import JudgeFactory
from writ_runtime.endpoint_frame import endpoint_handler
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer

CONCURRENCY = 4
SLICE_SECONDS, PAUSE_SECONDS = 0.0005, 0.002
"""As in `analysis`: decisions for others are made in between."""
_log = Log("writ.policy")


class VisibleEndpoint:
    """Serves `writ.policy.visible`."""

    def __init__(self, judging: JudgeFactory, observe: Observer) -> None:
        self._judging = judging
        self._observe = observe

    def endpoint(self) -> Endpoint:
        """Return the endpoint for executors."""
        respond = endpoint_handler("visible", self._visible, VisibleReply, self._observe, _log)
        return Endpoint(name="visible", subject=subjects.POLICY_VISIBLE, handler=respond, concurrency=CONCURRENCY)

    async def _visible(self, message: Message) -> VisibleReply:
        request = decode(message.data, VisibleRequest)
        judge = await self._judging.at(0)
        observed = judge.snapshot.seen_by(judge.snapshot.requester(request.principal, request.key), judge.now)
        if observed.reach is None:
            return VisibleReply()
        visible, began = dict[str, list[str]](), time.perf_counter()
        for target_id in request.targets:
            target = judge.snapshot.targets.get(target_id)
            if target is not None and (operations := list(observed.reach.operations(target))):
                visible[target_id] = operations
            if time.perf_counter() - began > SLICE_SECONDS:
                await asyncio.sleep(PAUSE_SECONDS)
                began = time.perf_counter()
        return VisibleReply(limited=True, operations=visible)
