"""`python -m writ_agent_proxmox.enrolment`: answers for `writ target add`, as JSON; it decides nothing.

`certificate HOST PORT`: the certificate shown by the server, for a person to compare. `read-token`: the id of the API
token on standard input.
"""

import hashlib
import ssl
import sys

from writ_agent.json_answers import Answers, write_answer
from writ_agent_proxmox.connection.credentials import parse_token
from writ_contracts.errors import Unreachable

SECONDS = 10.0


def certificate(host: str, port: str) -> dict[str, str]:
    """Return the SHA-256 of the certificate, as Proxmox shows it. Raises Unreachable."""
    try:
        pem = ssl.get_server_certificate((host, int(port)), timeout=SECONDS)
    except (OSError, ValueError) as error:
        raise Unreachable(f"{host}:{port} shows no certificate: {error}", code="unreachable") from error
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return {"fingerprint": ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))}


def read_token() -> dict[str, str]:
    """Return the id of a token, without its secret. Raises Invalid."""
    return {"id": parse_token(sys.stdin.read(4096), "standard input").id}


ANSWERS: Answers = {"certificate": certificate, "read-token": read_token}


def main() -> None:
    """Write one answer to standard output."""
    write_answer(ANSWERS, sys.argv[1:])


if __name__ == "__main__":
    main()
