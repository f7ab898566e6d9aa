"""The lab's own apt repository: small packages in a folder of a host, and the host's apt settings."""

from dataclasses import dataclass
from pathlib import Path

from tests.hostops.apt_root import AptRoot
from tests.lab.hosts import Host

FOLDER = "/srv/repository"


@dataclass
class Repository:
    """`hello` 1.0 and 1.1, `extra`, which needs it, `rival`, which can't be beside it; more as a test publishes it."""

    host: Host
    made: AptRoot

    def publish(self, name: str, version: str, *, fields: str = "", postinst: str = "", prerm: str = "") -> None:
        """Publish another package. The host can install it after it has fetched the index again."""
        self.made.publish(name, version, fields=fields, postinst=postinst, prerm=prerm)
        self.put()

    def put(self) -> None:
        """Make the folder on the host equal to the new one."""
        self.made.index()
        self.host.run("rm", "-rf", FOLDER)
        self.host.copy(self.made.repo, FOLDER)

    def version(self, name: str) -> str:
        """Return the installed version according to dpkg; "" for none."""
        code, output, _ = self.host.attempt("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name)
        status, _, version = output.partition(" ")
        return version if code == 0 and status == "installed" else ""


def make(host: Host, folder: Path) -> Repository:
    """Make the host's only source of packages; it has not fetched the index yet.

    The source is `copy:`, since with `file:` apt reads the folder itself and has no index which could be old.
    """
    repository = Repository(host, AptRoot(folder))
    repository.made.publish("hello", "1.0")
    repository.made.publish("hello", "1.1")
    repository.made.publish("extra", "2.0-1", fields="Depends: hello\n")
    repository.made.publish("rival", "3.0", fields="Conflicts: hello\n")
    repository.put()
    host.write("/etc/apt/sources.list", f"deb [trusted=yes] copy:{FOLDER} ./\n")
    return repository
