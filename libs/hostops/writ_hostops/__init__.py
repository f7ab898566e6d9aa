"""Operations on a Linux host. It imports nothing of Writ, so that it can be sent to a host and run there."""
