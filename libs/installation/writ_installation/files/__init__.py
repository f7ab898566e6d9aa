"""The files of an installation: where they are, how they are created and edited."""
