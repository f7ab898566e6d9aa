"""Files of a real host, each way: outputs agree with its disk, and only declared folders change."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.host_requests import previewed, reported
from tests.lab.hosts import Host
from tests.lab.installation import Writ
from tests.lab.targets import NARROW, ROOT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

PATH, TEXT = f"{ROOT}/app.conf", "listen = 8080\n"


@pytest.fixture(autouse=True)
def root(host: Host) -> None:
    """The declared folder, empty."""
    host.run("rm", "-rf", ROOT)
    host.run("mkdir", "-p", ROOT)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_written_read_copied_and_deleted_beneath_a_root(writ: Writ, host: Host) -> None:
    written = writ.run("file_write", f"file_path={PATH}", f"content={TEXT}")
    assert (written["outcome"], written["output"]["digest_after"]) == ("succeeded", digest(TEXT))
    assert host.run("sha256sum", PATH).split()[0] == digest(TEXT)
    assert writ.run("file_read", f"file_path={PATH}")["output"]["content"] == TEXT
    copied = writ.run("file_copy", f"source_path={PATH}", f"dest_path={PATH}.old")
    assert (copied["outcome"], host.run("sha256sum", f"{PATH}.old").split()[0]) == ("succeeded", digest(TEXT))
    assert writ.run("file_delete", f"file_path={PATH}")["outcome"] == "succeeded"
    assert host.run("ls", "-A", ROOT) == "app.conf.old"


def test_a_preview_of_each_change_changes_nothing(writ: Writ, host: Host) -> None:
    host.write(PATH, TEXT)
    assert previewed(writ, host, "file_write", f"file_path={PATH}", "content=x")["digest_after"] == digest("x")
    previewed(writ, host, "file_copy", f"source_path={PATH}", f"dest_path={PATH}.old")
    previewed(writ, host, "file_delete", f"file_path={PATH}")


@pytest.mark.parametrize("path", ["/etc/shadow", f"{ROOT}/../../etc/shadow", f"{ROOT}/link"])
def test_a_file_outside_the_roots_is_refused(writ: Writ, host: Host, path: str) -> None:
    host.run("ln", "-sfn", "/etc/shadow", f"{ROOT}/link")
    code, output, _ = writ.call("run", "file_read", "--target", writ.target, f"file_path={path}", "-o", "json")
    assert code in (1, 2)
    assert "root:" not in output


def test_a_link_out_of_the_roots_is_a_security_event(writ: Writ, host: Host) -> None:
    host.run("ln", "-sfn", "/etc/shadow", f"{ROOT}/link")
    done = writ.run("file_read", f"file_path={ROOT}/link", status=1)
    assert done["code"] == "outside_roots"
    reported(writ, done["operation_id"], "path_escape")


@pytest.fixture
def narrow(host: Host) -> Iterator[str]:
    """A file system of 256 KiB, which holds the file `kept`."""
    host.run("mkdir", "-p", NARROW)
    host.run("mount", "-t", "tmpfs", "-o", "size=256k", "narrow", NARROW)
    host.write(f"{NARROW}/kept", "before")
    yield NARROW
    host.run("umount", NARROW)


def test_full_disk_gets_no_file_and_no_leftover(writ: Writ, host: Host, narrow: str, tmp_path: Path) -> None:
    (tmp_path / "much").write_text("x" * 500_000)
    for path in (f"{narrow}/kept", f"{narrow}/new"):
        done = writ.run("file_write", f"file_path={path}", f"content=@{tmp_path}/much", status=1)
        assert (done["outcome"], done["code"]) == ("failed", "no_space")
    assert host.run("ls", "-A", narrow) == "kept"
    assert host.run("cat", f"{narrow}/kept") == "before"
    assert writ.run("file_write", f"file_path={narrow}/kept", "content=after")["outcome"] == "succeeded"
