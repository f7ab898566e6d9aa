"""The principal and the server of a command: from options, the environment and `$WRIT_HOME`, in this order.

`--as`/`WRIT_PRINCIPAL` names the principal, else it is `operator` or the only one there is. Its key is in WRIT_KEY_FILE
or in `$WRIT_HOME/keys`, unless `writ login` made one for some hours. The server is at NATS_URL, or at the address of
the running `writ up`. `--context` gives all three.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from msgspec import Struct

from writ_bus.private_files import read_private
from writ_cli.output import Screen
from writ_cli.session_files import SessionFiles
from writ_client.client import Writ
from writ_client.context import Context, read_context
from writ_contracts.errors import ConfigError, Invalid, Unreachable
from writ_documents.readers import read_principals
from writ_installation.files.create import OPERATOR
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import principals_of
from writ_installation.nats.server_tls import pinned_ca
from writ_installation.status.server_url import running_url

CONNECT_SECONDS = 3.0


class Settings(Struct, frozen=True, kw_only=True):
    """Values of the options before and after the subcommand."""

    screen: Screen
    home: Home
    home_given: bool = True
    """True if the folder was named explicitly; otherwise it is the default."""
    environ: Mapping[str, str]
    principal: str | None = None
    context: Path | None = None

    def where(self) -> Context:
        """Return the context to work in. Raises Unreachable where no server is known, Invalid where no principal is."""
        if self.context is not None:
            return self._named(self.context)
        principal = self.who()
        key_file = self.environ.get("WRIT_KEY_FILE") or str(self._own_key(principal))
        return Context(
            principal=principal,
            url=self.environ.get("NATS_URL") or self._running_url(),
            key_file=str(Path(key_file).absolute()),
            installation=self.environ.get("WRIT_INSTALLATION") or self.home.installation,
            policy_keys=list(self.policy_keys()),
            tls_ca=self.environ.get("WRIT_TLS_CA") or self._pinned_ca() or None,
            tls_cert=self.environ.get("WRIT_TLS_CERT") or None,
            tls_key=self.environ.get("WRIT_TLS_KEY") or None,
        )

    def policy_keys(self, *given: str) -> Collection[str]:
        """Return policy's public keys of all times, as `given`, or else from the context, the environment or the
        installation on this machine, which knows for which events each counts; none where they are not known.
        """
        if given:
            return list(given)
        if self.context is not None:
            return self._named(self.context).policy_keys
        if words := self.environ.get("WRIT_POLICY_KEY"):
            return [key.strip() for key in words.split(",") if key.strip()]
        return self.home.policy_keys() if self.home.public_file.exists() else []

    def who(self) -> str:
        """The principal to act as."""
        if self.context is not None:
            return self._named(self.context).principal
        if self.principal:
            return self.principal
        try:
            known = [one.id for one in read_principals(self.home.principals).principals]
        except ConfigError:
            known = []
        with_key = [name for name in known if self.home.seed_file(f"principal-{name}").exists()]
        if OPERATOR in with_key:
            return OPERATOR
        if len(with_key) == 1:
            return with_key[0]
        choice = f": {', '.join(with_key)}" if with_key else ""
        raise Invalid(f"which principal? name one with --as or WRIT_PRINCIPAL{choice}")

    def _own_key(self, principal: str) -> Path:
        """Return the key file in the folder. Raises Invalid for an unknown principal without a key file."""
        path = self.home.seed_file(f"principal-{principal}")
        if self.home.principals.exists() and not path.exists():
            known = principals_of(self.home)
            if principal not in known:
                text = f"there is no principal {principal[:64]!r} in {self.home.principals}"
                raise Invalid(text, code="unknown_principal")
        return path

    def _named(self, path: Path) -> Context:
        context = read_context(path)
        if self.principal not in (None, "", context.principal):
            raise Invalid(
                f"{path} is the context of {context.principal}, not of {self.principal}: leave one of them out"
            )
        return context

    def _running_url(self) -> str:
        url = running_url(self.home)
        if url is None:
            where = f"Writ is not up on {self.home.root}"
            raise Unreachable(f"{where}: start it with `writ up`, or set NATS_URL and WRIT_KEY_FILE")
        return url

    def _pinned_ca(self) -> str:
        """Return the CA of the installation on this machine, unless the server is another one."""
        return "" if self.environ.get("NATS_URL") else pinned_ca(self.home)

    async def connect(self) -> Writ:
        """Connect as that principal, by the key of `writ login` while there is one, unless WRIT_KEY_FILE names one."""
        context = self.where()
        session = None if self.environ.get("WRIT_KEY_FILE") else self.sessions.find(context)
        if session is None:
            return await self.connect_by_own_key()
        return await Writ.within(context, session.seed.encode(), wait=CONNECT_SECONDS)

    async def connect_by_own_key(self) -> Writ:
        """Connect as that principal, by the principal's own key."""
        context = self.where()
        return await Writ.within(context, read_private(Path(context.key_file)), wait=CONNECT_SECONDS)

    @property
    def sessions(self) -> SessionFiles:
        """The keys of `writ login` on this machine."""
        return SessionFiles(Path(self.environ.get("WRIT_SESSIONS") or Path.home() / ".local/state/writ/sessions"))
