"""`python -m writ_client` is `writ`."""

from writ_client.command.main import main

if __name__ == "__main__":
    main()
