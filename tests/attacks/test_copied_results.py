"""A thief who can write to the stores, without their encryption key, cannot have an executor decrypt another's bytes.

Root on NATS' host, bootstrap and the executors' key alone can copy stored bytes. With the key of any principal, they
would read the full output, or the secret parameters, of another principal's operation as a result of their own.
"""

import pytest
from tests.attacks.rogue import events

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.journal import Requested
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_copied_result_or_parameters_of_another_principal_are_not_shown(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    path = installation.home.root.parent / "files" / "of-alice"
    path.write_text("secret-of-alice")
    async with await installation.client("bob") as bob:
        read = await alice.run("file_read", "web-1", {"file_path": str(path)})
        own = await bob.run("file_read", "web-1", {"file_path": str(path)})
        assert (await bob.result(own.operation_id) or {})["content"] == "secret-of-alice"
        stored = await executor.results.get(f"alice.{read.operation_id}")
        assert stored
        await executor.results.put(f"bob.{own.operation_id}", stored, ttl=60.0)
        assert "content" not in (await bob.result(own.operation_id) or {})
        with installation.paused("agent-a"):
            write = await alice.submit("file_write", "web-1", {"file_path": str(path), "content": "another secret"})

            async def parameters() -> bytes | None:
                [requested, *_] = await events(executor, subjects.operation_filter("alice", str(write.operation_id)))
                assert isinstance(requested, Requested)
                return await executor.params.get(f"{write.operation_id}.{requested.fingerprint}")

            await executor.results.put(f"bob.{own.operation_id}", await eventually(parameters), ttl=60.0)
            assert "content" not in (await bob.result(own.operation_id) or {})
    assert "result.misplaced" in installation.logs()


async def test_copied_parameters_of_another_operation_are_not_sent_to_an_agent(
    installation: RunningInstallation, executor: Bus, alice: Writ
) -> None:
    """The copier has the key of an agent of another pool, and claims an operation of that pool."""
    path = str(installation.home.root.parent / "files" / "of-alice")
    with installation.paused("agent-a"), installation.paused("agent-b"):
        secret, own = [
            await alice.submit("file_write", target, {"file_path": path, "content": content})
            for target, content in (("web-1", "secret-of-alice"), ("db-1", "x"))
        ]
        places = []
        for answer in (secret, own):
            [requested, *_] = await events(executor, subjects.operation_filter("alice", str(answer.operation_id)))
            assert isinstance(requested, Requested)
            places.append(f"{requested.operation_id}.{requested.fingerprint}")
        stored = await executor.params.get(places[0])
        assert stored is not None
        await executor.params.put(places[1], stored, ttl=60.0)
        # The executor of the requests has the parameters in memory for a while. Another process reads the store.
        await installation.until("executor", other_than=installation.kill("executor"))
    done = await alice.wait(str(own.operation_id), timeout=20)
    assert (done.outcome, done.code) == ("failed", "lost")
    assert (await alice.wait(str(secret.operation_id), timeout=20)).outcome == "succeeded"
    assert "parameters.misplaced" in installation.logs()
