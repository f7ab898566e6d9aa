"""The way to NATS: the only importer of nats, and what everybody above talks to instead."""
