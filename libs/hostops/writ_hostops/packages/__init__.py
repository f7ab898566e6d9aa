"""Debian packages by apt-get and dpkg-query: argument vectors, no questions, every change simulated before."""
