"""The Python client of Writ and the `writ` command. Nothing here decides or carries out: requests go over the bus."""

from writ_client.client import Writ as Writ
