"""The start of hostops on a host, as bytes: the archive, the bootstrap, sudo, and quoting for the login shell."""
