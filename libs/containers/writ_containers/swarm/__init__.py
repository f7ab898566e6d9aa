"""Stacks on an engine that is a swarm manager."""
