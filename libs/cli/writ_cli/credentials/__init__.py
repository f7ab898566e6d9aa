"""`writ credential`: the directory of people's credentials, and the files that go between people."""
