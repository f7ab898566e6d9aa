"""Debian's docker-registry on loopback, which every engine accepts without a known certificate."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.engine_certificates import Authority
from tests.lab.hosts import until

from writ_documents import yaml_file
from writ_testing.peers.nats_server import free_port
from writ_testing.peers.programs import program

USER, PASSWORD = "lab", "s3cret-registry-word"
BCRYPT = "$2b$05$abcdefghijklmnopqrstuu2Bsy/.7pTCHH7RAujlkwhpCJL2U.ZTC"
"""Of PASSWORD: the registry takes no other kind of hash."""


@contextmanager
def registry(folder: Path, *, closed: bool = False, port: int | None = None) -> Iterator[str]:
    """Yield its host:port. `port`: by default a free one. `closed`: over TLS, and for USER alone."""
    folder.mkdir(parents=True)
    port = port or free_port()
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    config: dict[str, object] = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder / "data")}}}
    if closed:
        certificate, key = Authority(folder / "certificates").issue("registry")
        http["tls"] = {"certificate": str(certificate), "key": str(key)}
        (folder / "users").write_text(f"{USER}:{BCRYPT}\n")
        config["auth"] = {"htpasswd": {"realm": "lab", "path": str(folder / "users")}}
    (folder / "config.yml").write_text(yaml_file.dump({**config, "http": http}))
    log = folder / "registry.log"
    with log.open("wb") as file:
        command = [program("docker-registry"), "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        until(lambda: b"listening on" in log.read_bytes(), 20.0, f"the registry listens: {log.read_text()[-500:]}")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(20)
