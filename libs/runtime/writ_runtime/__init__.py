"""What every process needs to run: configuration, logging, metrics, health, signals and files. It knows nothing of operations."""
