"""`python -m vid4d` is the command `vid4d`."""

from vid4d.cli import main

if __name__ == "__main__":
    main()
