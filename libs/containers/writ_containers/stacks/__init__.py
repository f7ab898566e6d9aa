"""Operations on Compose stacks, on an engine alone and on a swarm manager."""
