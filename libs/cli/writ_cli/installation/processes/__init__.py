"""Commands for the processes of an installation: create, start, stop, status and uninstall."""
