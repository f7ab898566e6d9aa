"""Operations on a Linux host: one JSON request in, progress and one result out. Every effect is checked here once more.

It imports nothing of Writ, so it can be sent to a host and run there (Python 3.9+). `run` carries out one request
in process; `python -m writ_hostops` serves requests as lines. protocol.py has their form, errors.py the errors.
"""

from writ_hostops.errors import CODES as CODES
from writ_hostops.operations import HANDLERS as HANDLERS
from writ_hostops.operations import run as run
from writ_hostops.stop import CancelToken as CancelToken
