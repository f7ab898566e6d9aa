"""Archives of the journal and bundles of files, and the checks anyone can run on them without a server."""
