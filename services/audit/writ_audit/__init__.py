"""The audit service: reads the journal, and answers what happened. It writes nothing but its own index."""
