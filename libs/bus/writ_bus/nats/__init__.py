"""The bus over NATS: connection, journal, pull worker, request and reply. The only importer of nats."""
