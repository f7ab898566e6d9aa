"""nats-py's client, in two forms behind one port: the only package that knows nats-py's internals.

`direct` takes a shorter path through the internals of nats-py, `plain` uses its public interface alone. The setting
WRIT_NATS_CLIENT selects one; ADR 67 has the measured difference. `internals` names all that `direct` relies on.
"""
