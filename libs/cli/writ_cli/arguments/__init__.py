"""Arguments of commands: shared options, completion, suggestions and help."""
