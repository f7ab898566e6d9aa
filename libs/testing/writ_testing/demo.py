"""`make demo`: Writ's main job for real, on this machine, in a folder that is removed afterwards.

Everything shown comes from a running installation: NATS, policy, executor, audit and an agent, each its own process.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from writ_client.context import Context, open_bus
from writ_contracts.inventory import Target
from writ_contracts.journal import SecurityEvent
from writ_contracts.subjects import security_event
from writ_contracts.wire import decode_event
from writ_documents.readers import read_inventory
from writ_testing.demo_agent import agent
from writ_testing.eventually import eventually
from writ_testing.fakes.rogue_executor import Forger
from writ_testing.installations.commands import WritResult
from writ_testing.installations.installation import (
    WRIT,
    RunningInstallation,
    local_target,
    prepare,
    running_installation,
)

TARGET = "web-1"
BOLD, DIM, CYAN = "1", "2", "36"
POLICY = """\
policies:
  version: "v2"
  name: "demo"
  description: "The web team writes its own files; nobody deletes them."
  deny_by_default: true
  enable_dry_run: true
  require_approval_for_admin: true
  global_policies:
    - name: "web_team_writes"
      description: "Files of the application, at most a minute each"
      operations: [file_write, file_read, service_status]
      target_roles: [development]
      allowed: true
      parameter_constraints:
        timeout: {type: int, max: 60}
    - name: "a_second_person_approves_copies"
      description: "A copy is made once somebody else has approved it"
      operations: [file_copy]
      target_roles: [development]
      allowed: true
      approval: {approvers: [approver], timeout: 10m}
    - name: "nobody_deletes"
      description: "Files are moved away, never deleted"
      operations: [file_delete]
      allowed: false
"""


PEOPLE = (
    ("ada", {"roles": ["approver"]}),
    ("copilot", {"kind": "agent", "roles": ["operator"], "acts_for": "operator"}),
)


class UnexpectedResult(Exception):
    """The demo did not go as expected."""


def main() -> int:
    """Run the demo. Return 0 if everything went as expected."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="writ-demo-") as folder:
        try:
            asyncio.run(show(Path(folder)))
        except (UnexpectedResult, AssertionError) as error:
            print(f"\nThe demo went wrong: {error}", file=sys.stderr)
            return 1
    title(f"Everything ended as expected, in {time.perf_counter() - began:.1f} s. Nothing is left running.")
    return 0


async def show(folder: Path) -> None:
    """Show all of it, in order."""
    root = folder / "files"
    title("An installation of its own: NATS, policy, executor, audit and an agent")
    home = prepare(folder, targets=[local_target(TARGET, root)], policy=POLICY, principals=PEOPLE)
    (root / "motd").write_text("old words\n")
    async with running_installation(folder, home=home, command=WRIT) as installation:
        for one in installation.report.processes:
            print(f"  {one.name:<28} {one.state}, process {one.pid}")
        await write(installation, root / "motd")
        await refuse(installation, root / "motd")
        await simulate(installation, root / "motd")
        await invalid(installation, root / "motd")
        await approve(installation, root / "motd")
        await use_tools(installation, root / "motd")
        await forge(installation, root / "motd")
    title("Stopped, in order")


def first_operation(path: str) -> list[str]:
    """Return the first request of an installation with the demo's policy, for a `path` with the text `old words`."""
    arguments = [f"file_path={path}", "content=new words", "--reason", "the old ones were old"]
    return ["run", "file_write", "--target", TARGET, *arguments]


async def write(installation: RunningInstallation, path: Path) -> None:
    """Show a change: decided, granted, done, recorded."""
    title("1. A change that policy allows")
    ended = await run(installation, 0, *first_operation(str(path)))
    expect(path.read_text() == "new words", "the file was not written")
    print(f"  {path.name} now reads: {path.read_text().strip()!r}")
    searched = json.loads((await run(installation, 0, "audit", "search", "--limit", "1", "-o", "json", quiet=True)).out)
    [row] = searched["rows"]
    title("   … and its trace, as the journal has it")
    await run(installation, 0, "trace", row["operation_id"])
    expect("new words" not in ended.out, "the content, which is secret, was shown")


async def refuse(installation: RunningInstallation, path: Path) -> None:
    """Show a denial, with the rule and the reason."""
    title("2. What a rule denies")
    await run(installation, 3, "run", "file_delete", "--target", TARGET, f"file_path={path}")
    expect(path.exists(), "the file was deleted all the same")


async def simulate(installation: RunningInstallation, path: Path) -> None:
    """Show a simulated decision."""
    title("3. The decision on a request, without a record or an effect")
    await run(
        installation, 3, "simulate", "file_write", "--target", TARGET, f"file_path={path}", "content=x", "timeout=120"
    )


async def invalid(installation: RunningInstallation, path: Path) -> None:
    """Send a request against the operation's own schema."""
    title("4. An invalid request")
    await run(installation, 2, "run", "file_read", "--target", TARGET, f"file_path={path}", "max_bytes=lots")
    await run(installation, 2, "run", "file_reed", "--target", TARGET, f"file_path={path}")


async def approve(installation: RunningInstallation, path: Path) -> None:
    """Show a change that waits for a second person, and an agent that cannot be that person."""
    title("5. A change that a second person must approve; an AI agent requests it")
    copy = path.with_name("motd.copy")
    arguments = [f"source_path={path}", f"dest_path={copy}", "--reason", "keep the old words"]
    await run(installation, 0, "run", "file_copy", "--target", TARGET, *arguments, "--no-wait", "--as", "copilot")
    listed = json.loads((await run(installation, 0, "approvals", "list", "--as", "ada", "-o", "json", quiet=True)).out)
    operation = listed[0]["operation_id"]
    title("   … the agent cannot approve its own request, nor can the person it acts for")
    await run(installation, 3, "approvals", "approve", operation, "--yes", "--as", "copilot")
    await run(installation, 3, "approvals", "approve", operation, "--yes", "--as", "operator")
    expect(not copy.exists(), "it was done without an approval")
    title("   … ada approves it, and it runs")
    await run(installation, 0, "approvals", "list", "--as", "ada")
    await run(installation, 0, "approvals", "approve", operation, "--yes", "--reason", "good", "--as", "ada")
    await run(installation, 0, "op", "watch", operation, "--as", "copilot")
    expect(copy.read_text() == path.read_text(), "the copy was not made")


async def use_tools(installation: RunningInstallation, path: Path) -> None:
    """Show an AI agent's own client: its tools, a denial, and a change that waits for a person."""
    title("6. The agent's own client over MCP: it lists tools, is denied, and waits for a person")
    copy = path.with_name("motd.second")
    async with agent(installation, "copilot") as model:
        print(f"  tools: {', '.join(await model.tools())}")
        change = {"target_id": TARGET, "reason": "keep the words"}
        delete = {"operation_type": "file_delete", "parameters": {"file_path": str(path)}}
        denied = await model.call("request_operation", **change, **delete)
        expect(denied["status"] == "denied" and path.exists(), "the deletion was not denied")
        arguments = {"source_path": str(path), "dest_path": str(copy)}
        reply = await model.call("request_operation", **change, operation_type="file_copy", parameters=arguments)
        expect(reply["status"] == "awaiting_approval" and reply["approvers"] == ["ada"], "it waits for nobody")
        await run(installation, 0, "approvals", "approve", reply["operation_id"], "--yes", "--as", "ada")
        ended = await model.call("wait_for_operation", operation_id=reply["operation_id"])
    expect(ended["status"] == "succeeded" and copy.exists(), "the copy was not made")


async def forge(installation: RunningInstallation, path: Path) -> None:
    """Show the limits of an executor with a stolen key."""
    title("7. An executor with a stolen key: it dispatches the deletion with a grant that it signed itself")
    target = next(one for one in read_inventory(installation.home.inventory).targets if one.id == TARGET)
    key = installation.home.key("executor")
    bus = await open_bus(Context(principal="executor", url=installation.url), key.seed, wait=10)
    try:
        forger = Forger(bus, target, key)
        await forger.listen()
        with installation.paused("executor"):
            operation_id = await forger.dispatch("file_delete", {"file_path": str(path), "timeout": 10})
            await eventually(lambda: forger.answered(operation_id), what="a claim for what was forged")
        record = await eventually(lambda: bus.journal.last(security_event("forged_grant")), what="its refusal")
    finally:
        await bus.close()
    event = decode_event(record.data)
    expect(isinstance(event, SecurityEvent) and event.operation_id == operation_id, "the forgery was not recorded")
    expect(path.exists(), "the agent obeyed a forged grant")
    print(f"  the agent refused and reported it: {describe(event, target)}")
    print(f"  {path.name} is still there: {path.read_text().strip()!r}")


def describe(event: object, target: Target) -> str:
    """Return a security event in a line."""
    if not isinstance(event, SecurityEvent):
        return "nothing"
    return f"{event.kind} on {target.id}: {event.detail}"


async def run(installation: RunningInstallation, status: int, *arguments: str, quiet: bool = False) -> WritResult:
    """Run `writ`, show it as on a terminal, and check its exit status."""
    ended = await installation.writ(*arguments)
    if not quiet:
        styled(f"  $ writ {' '.join(map(quoted, arguments))}", CYAN)
        for line in (ended.out + ended.err).splitlines():
            print(f"  {line}")
        styled(f"  (exit status {ended.status})", DIM)
    expect(ended.status == status, f"writ {arguments[0]} ended with {ended.status}, not {status}: {ended.err}")
    return ended


def quoted(argument: str) -> str:
    """Return the argument as one would type it."""
    return f"'{argument}'" if any(letter.isspace() for letter in argument) else argument


def title(text: str) -> None:
    styled(f"\n{text}", BOLD)


def styled(text: str, style: str) -> None:
    """Print a highlighted line."""
    print(f"\x1b[{style}m{text}\x1b[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text, flush=True)


def expect(holds: bool, otherwise: str) -> None:
    """Raise UnexpectedResult if the condition is false."""
    if not holds:
        raise UnexpectedResult(otherwise)


if __name__ == "__main__":
    sys.exit(main())
