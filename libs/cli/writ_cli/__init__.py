"""The command `writ`: every subcommand reads its arguments, asks through `Writ`, and shows the answer."""
