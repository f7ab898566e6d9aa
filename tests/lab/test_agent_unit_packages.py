"""Packages whose scripts use capabilities, under the local agent's unit, which has fewer than root."""

import pytest
from tests.lab.host_requests import only
from tests.lab.hosts import Host
from tests.lab.installation import Writ
from tests.lab.repository import Repository

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300), only("local")]
SCRIPT = """set -e
rm -rf /srv/demanding
id -u lab-service || useradd --system --no-create-home --shell /usr/sbin/nologin lab-service
usermod --append --groups adm lab-service
install -d -o lab-service -g adm -m 2750 /srv/demanding
echo secret > /srv/demanding/file
chown lab-service:adm /srv/demanding/file
chmod 4711 /srv/demanding/file
mknod /srv/demanding/device c 1 3
su -s /bin/sh -c 'id -un > /tmp/demanding-by' lab-service
setpriv --reuid lab-service --clear-groups --bounding-set -all true
nice -n -5 true
ip address add 127.0.0.9/8 dev lo
ip address del 127.0.0.9/8 dev lo
python3 -c 'import os; cap = bytes.fromhex("0100000200200000" + 24 * "0")
os.setxattr("/srv/demanding/file", "security.capability", cap)'
systemctl daemon-reload"""
"""What scripts of Debian's packages do: system users, owners and modes, devices, file capabilities, `su`, units."""


def test_package_whose_scripts_use_the_units_capabilities_is_installed_and_updated(
    writ: Writ, host: Host, packages: Repository
) -> None:
    host.run(
        "sh", "-c", SCRIPT.replace("lab-service", "lab-root")
    )  # what the script needs is there, and root's full rights suffice
    host.run("rm", "-r", "/srv/demanding", "/tmp/demanding-by")
    packages.publish("demanding", "1.0", postinst=SCRIPT)
    host.run("apt-get", "-q", "update")
    done = writ.run("package_install", "package_name=demanding")
    assert done["outcome"] == "succeeded", done
    assert packages.version("demanding") == "1.0"
    assert host.run("cat", "/tmp/demanding-by").strip() == "lab-service"
    packages.publish("demanding", "1.1", postinst=SCRIPT)
    host.run("apt-get", "-q", "update")
    done = writ.run("package_update", "package_name=demanding")
    assert done["outcome"] == "succeeded", done
    assert packages.version("demanding") == "1.1"
    host.run("apt-get", "-qy", "purge", "demanding")
    host.run("rm", "-rf", "/srv/demanding", "/tmp/demanding-by")
    for user in ("lab-root", "lab-service"):
        host.run("userdel", "--force", user)
