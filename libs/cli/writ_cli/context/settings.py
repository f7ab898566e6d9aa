"""The options and the environment of a command, and the principal that it acts for.

`--as`/`WRIT_PRINCIPAL` names the principal, else it is `operator` or the only one there is. Only commands with a server
import `writ_cli.context.connecting`, which finds the server and the key: a NATS client takes a tenth of a second to
load.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from writ_cli.terminal.output import Screen
from writ_contracts.errors import ConfigError, Invalid
from writ_installation.files.home import OPERATOR, Home

if TYPE_CHECKING:
    from writ_cli.context.session_files import SessionFiles
    from writ_client.client import Writ
    from writ_client.context import Context


class Settings(Struct, frozen=True, kw_only=True):
    """Values of the options before and after the subcommand."""

    screen: Screen
    home: Home
    home_given: bool = True
    """True if the folder was named explicitly; otherwise it is the default."""
    home_typed: bool = False
    """True if `--home` is on the command line. WRIT_HOME may stay a default beside a context."""
    environ: Mapping[str, str]
    principal: str | None = None
    context: Path | None = None
    waits: bool = False
    """True for a command that may wait for long: it says on standard error who does not reply, also without a terminal.
    """

    def waiting(self) -> "Settings":
        """Return the settings of a command that may wait for long."""
        return structs.replace(self, waits=True)

    def where(self) -> "Context":
        """Return the context to work in. Raises Unreachable where no server is known, Invalid where no principal is."""
        from writ_cli.context.connecting import context_of  # noqa: PLC0415 - see the module

        return context_of(self)

    def policy_keys(self, *keys: str) -> Collection[str]:
        """Return policy's public keys of all times, as `given`, or else from the context, the environment or the
        installation on this machine, which knows for which events each counts; none where they are not known.
        """
        if keys:
            return list(keys)
        if self.context is not None:
            return self.where().policy_keys
        if words := self.environ.get("WRIT_POLICY_KEY"):
            return [key.strip() for key in words.split(",") if key.strip()]
        return self.home.policy_keys() if self.home.public_file.exists() else []

    def who(self) -> str:
        """Return the principal to act as."""
        if self.context is not None:
            return self.where().principal
        if self.principal:
            return self.principal
        from writ_documents.readers import read_principals  # noqa: PLC0415 - few commands need to search

        try:
            known = [one.id for one in read_principals(self.home.principals).principals]
        except ConfigError:
            known = []
        with_key = [name for name in known if self.home.seed_file(f"principal-{name}").exists()]
        if OPERATOR in with_key:
            return OPERATOR
        if len(with_key) == 1:
            return with_key[0]
        if not known and not self.environ.get("NATS_URL") and not self.home.installation_file.exists():
            raise self._no_installation()
        choice = f": {', '.join(with_key)}" if with_key else ""
        lost = f"; {self._lost_key(OPERATOR)}" if OPERATOR in known and not self.environ.get("WRIT_KEY_FILE") else ""
        raise Invalid(f"which principal? name one with --as or WRIT_PRINCIPAL{choice}{lost}")

    def _lost_key(self, principal: str) -> str:
        """Return which key is missing, and the command that makes a new one."""
        path = self.home.seed_file(f"principal-{principal}")
        again = f"`writ principal rotate {principal}` makes a new one"
        return f"the key of {principal} is missing, {path}: if it is lost, {again}"

    def check_installation(self) -> None:
        """Raises Invalid where the folder does not exist."""
        if not self.home.root.exists():
            raise self._no_installation()

    def _no_installation(self) -> Invalid:
        advice = "`writ up` creates one, `writ context use` chooses one elsewhere"
        return Invalid(f"no installation in {self.home.root}: {advice}")

    async def connect(self) -> "Writ":
        """Connect as that principal, by the key of `writ login` while there is one, unless WRIT_KEY_FILE names one."""
        from writ_cli.context.connecting import connect  # noqa: PLC0415 - see the module

        return await connect(self)

    async def connect_by_own_key(self) -> "Writ":
        """Connect as that principal, by the principal's own key."""
        from writ_cli.context.connecting import connect_by_own_key  # noqa: PLC0415 - see the module

        return await connect_by_own_key(self)

    @property
    def sessions(self) -> "SessionFiles":
        """The keys of `writ login` on this machine."""
        from writ_cli.context.session_files import SessionFiles  # noqa: PLC0415 - see the module

        return SessionFiles(Path(self.environ.get("WRIT_SESSIONS") or Path.home() / ".local/state/writ/sessions"))
