"""Queries about versions of the policy: `writ.query.<principal>.policy_…`. They change nothing.

Everybody may query which version is in force. Texts and history need `audit_read` of `policy`.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import structs

from writ_bus.port import Message
from writ_bus.sender import sender_key
from writ_contracts.decisions import Subject
from writ_contracts.errors import Denied, Invalid
from writ_contracts.ids import WRIT_TARGET, encode_id
from writ_contracts.notices import Notice
from writ_contracts.policy.versions import (
    PolicyHistoryQuery,
    PolicyHistoryReply,
    PolicyShowQuery,
    PolicyShowReply,
    PolicyStatusQuery,
    PolicyStatusReply,
    PolicyVersionView,
    StoredPolicy,
    sent_form,
)
from writ_contracts.subjects import parse_query
from writ_contracts.wire import JSON, decode
from writ_policy.config import PolicyConfig
from writ_policy.decisions.rulings import Judge
from writ_policy.state import control_pages
from writ_policy.state.control_pages import Entry
from writ_policy.state.sources import FILES, PolicySources
from writ_policy.versions.stored_versions import Versions
from writ_policy.windows.open_windows import OpenWindows
from writ_rules.engine.compile import Policy

QUESTION_BYTES = 16_384
QueryHandler = Callable[[Message], Awaitable[Any]]


class VersionQueries:
    """The handlers; one method for each query. It returns the struct that the registry names, or raises WritError."""

    def __init__(
        self,
        config: PolicyConfig,
        sources: PolicySources,
        versions: Versions,
        judge: Callable[[], Awaitable[Judge]],
        send_notice: Callable[[Notice], None],
        windows: OpenWindows,
    ) -> None:
        """Serve these queries. `judge` returns all present inputs of a decision."""
        self._config = config
        self._sources = sources
        self._versions = versions
        self._judge = judge
        self._send_notice = send_notice
        self._windows = windows

    def by_name(self) -> dict[str, QueryHandler]:
        return {
            "query_policy_history": self.history,
            "query_policy_show": self.show,
            "query_policy_status": self.status,
        }

    async def history(self, message: Message) -> PolicyHistoryReply:
        """Return the versions, newest first."""
        query = decode_query(message, PolicyHistoryQuery)
        await self.permit(message)
        before = query.before or self._versions.stored + 1
        page = await self._versions.page(before, query.limit)
        views = [self._view(version, problem, number) for version, problem, number in page]
        return PolicyHistoryReply(versions=views, more=bool(page) and page[-1][2] > 1)

    async def show(self, message: Message) -> PolicyShowReply:
        query = decode_query(message, PolicyShowQuery)
        await self.permit(message)
        head = self._versions.head
        version = head if query.version is None else await self._versions.find(query.version)
        if version is None:
            raise Invalid(f"there is no valid version {query.version} of the policy", code="not_found")
        problem = self._versions.refused.get(version.number, "")
        return PolicyShowReply(
            version=self._view(version, problem, version.number), document=sent_form(version.document)
        )

    async def status(self, message: Message) -> PolicyStatusReply:
        """Return this replica's inputs of decisions, and their problems."""
        query: PolicyStatusQuery = decode_query(message, PolicyStatusQuery)
        judge = await self._judge()
        in_force = control_pages.entries(judge.control, judge.now)
        principal = judge.snapshot.principals.get(parse_query(message.subject)[0])
        observed = None if principal is None else judge.snapshot.seen_by(principal, judge.now)
        if principal is None or observed is None or observed.reach is None:
            return await self._full_status(judge, in_force, query.after)
        own = control_pages.own_windows(in_force, principal.id)
        return _limited(await self._full_status(judge, own, query.after), observed.policy)

    async def _used(self, window: str) -> Sequence[str]:
        return (await self._windows.uses(window)).operations

    async def _full_status(self, judge: Judge, in_force: Sequence[Entry], after: str) -> PolicyStatusReply:
        snapshot, head = judge.snapshot, self._versions.head
        store = self._versions.blocked or self._versions.problem
        problems = {name: self._sources.problem(name) for name in FILES} | {"store": store}
        ignored = self._sources.ignored()
        page = await control_pages.page(in_force, after, self._used)
        return PolicyStatusReply(
            version=None if head is None else self._view(head, "", head.number),
            name=snapshot.policy.name,
            label=snapshot.policy.version,
            mode=self._config.mode,
            dry_run_only=self._config.dry_run_only,
            rules=snapshot.policy.rules,
            stored=self._versions.stored,
            control_sequence=judge.control.sequence,
            stops=page.stops,
            emergencies=page.emergencies,
            windows=page.windows,
            more=page.more,
            last=page.last,
            inventory_digest=snapshot.version.inventory_digest,
            principals_digest=snapshot.version.principals_digest,
            problems={name: problem[:2000] for name, problem in problems.items() if problem is not None},
            notes=[ignored] if ignored else [],
        )

    async def permit(self, message: Message, *, query: str = "policy") -> None:
        """Raise Denied unless policy lets the sender read this. A refusal is recorded."""
        principal, _ = parse_query(message.subject)
        subject = Subject(
            operation_id=encode_id(os.urandom(16)),
            principal=principal,
            key=sender_key(message),
            operation="audit_read",
            target=WRIT_TARGET,
            parameters={"query": query},
            parameters_key=os.urandom(32).hex(),
        )
        decision = (await self._judge()).rule(subject).decision
        if decision.effect != "allow":
            self._send_notice(Notice(kind="read_refused", detail=f"{query}: {decision.code}", principal=principal))
            raise Denied(decision.reason, code=decision.code or "denied")

    def _view(self, version: StoredPolicy | None, problem: str, number: int) -> PolicyVersionView:
        if version is None:
            return PolicyVersionView(number=number, digest="", author="", origin="", at=0.0, problem=problem[:500])
        return PolicyVersionView(
            number=version.number,
            digest=version.digest,
            author=version.author,
            origin=version.origin,
            at=version.at,
            reason=version.reason,
            restores=version.restores,
            operation_id=version.operation_id,
            size=len(version.document.encode()),
            in_force=self._versions.head is not None and self._versions.head.number == version.number,
            problem=problem[:500],
        )


def _limited(answer: PolicyStatusReply, policy: Policy) -> PolicyStatusReply:
    """Return the status for a principal with limited lists.

    It lacks problems, and before that stops, emergencies, and the windows of others (even of its own human), since
    these name targets and principals.
    """
    return structs.replace(
        answer,
        rules=policy.rules,
        problems=dict.fromkeys(answer.problems, "`writ policy status` shows operators the problem"),
        notes=[],
    )


def decode_query(message: Message, kind: type[Any], limit: int = QUESTION_BYTES) -> Any:
    """Decode the query from its sender's encoding. Raises Invalid."""
    return decode(message.data, kind, content_type=message.headers.get("Content-Type", JSON), limit=limit)
