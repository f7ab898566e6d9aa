"""The common runtime of all processes: configuration, logs, metrics, health, signals, files. It knows no operation."""
