"""An example plugin: operations, handlers and an evaluator for tests."""
