"""Operations on a Linux host: one JSON request in, its progress and result out; every effect checked here once more.

It imports nothing of Writ, so that it can be sent to a host and run there (Python 3.9+). `run` is one request in
process; `python -m writ_hostops` serves requests as lines. protocol.py says what they look like, errors.py what can go
wrong.
"""

from writ_hostops.errors import CODES as CODES
from writ_hostops.operations import HANDLERS as HANDLERS
from writ_hostops.operations import run as run
from writ_hostops.stop import Stop as Stop
