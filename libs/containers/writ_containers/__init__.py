"""Operations on a Docker engine through its HTTP API: containers and stacks, judged by inspection after each change."""
