"""A path outside of the file roots: those who may read the inventory learn the roots, and how to declare one."""

from pathlib import Path

import pytest

from writ_cli.context.settings import Settings
from writ_cli.operations.running.file_roots import roots_advice
from writ_cli.terminal.output import Screen
from writ_contracts.requests import OperationView
from writ_hostops.errors import HostError
from writ_hostops.files.paths import locate
from writ_hostops.protocol import HostFileRoot
from writ_installation.files.home import Home

INVENTORY = (
    "targets: [{id: web-1, role: testing, backend: local, connection: {host: h}, file_roots: [/srv/www, /var/x]}]"
)


def refused(root: str = "/srv/www", path: str = "/opt/x") -> OperationView:
    with pytest.raises(HostError) as caught:
        locate(path, [HostFileRoot(root)])
    return OperationView(
        operation_id="a" * 26,
        principal="alice",
        operation="file_write",
        target="web-1",
        state="ended",
        outcome="failed",
        code=caught.value.code,
        message=str(caught.value),
        requested_at=1.0,
        updated_at=2.0,
        correlation_id="c",
    )


def settings(folder: Path, **environ: str) -> Settings:
    return Settings(screen=Screen("table"), home=Home(folder), environ=environ)


def test_refusal_names_the_key_of_the_inventory_that_declares_roots() -> None:
    assert "`file_roots` of its entry in the inventory" in refused().message


def test_reader_of_the_inventory_gets_the_roots_and_the_command(tmp_path: Path) -> None:
    here = settings(tmp_path)
    here.home.inventory.write_text(INVENTORY)
    assert roots_advice(here, refused()) == (
        "; they are /srv/www, /var/x; `writ target set web-1 'file_roots=[…]'` replaces the list"
    )
    here.home.inventory.write_text(INVENTORY.replace("/srv/www, /var/x", ""))
    assert roots_advice(here, refused()).startswith("; there are none; ")


def test_requester_elsewhere_gets_no_roots(tmp_path: Path) -> None:
    here = settings(tmp_path, NATS_URL="nats://elsewhere")
    here.home.inventory.write_text(INVENTORY)
    assert roots_advice(here, refused()) == ""


def test_other_reasons_to_refuse_a_path_have_no_advice_on_roots(tmp_path: Path) -> None:
    here = settings(tmp_path)
    here.home.inventory.write_text(INVENTORY)
    assert roots_advice(here, refused(root="/etc", path="/etc/motd")) == ""
