"""Archives of the journal and bundles of files, with checks that anyone can run without a server."""
