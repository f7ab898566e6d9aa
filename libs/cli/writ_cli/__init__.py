"""The command `writ`: every subcommand reads its arguments, sends requests through `Writ`, and shows the replies."""
