"""What every process needs to run: configuration, logs, metrics, health, signals, files. It knows of no operation."""
