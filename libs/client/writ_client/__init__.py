"""The Python client of Writ and the `writ` command: requests go out over the bus, and nothing here decides or carries out."""
