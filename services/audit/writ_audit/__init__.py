"""The audit service: read the journal and answer traces and searches. It writes nothing but its own index."""
