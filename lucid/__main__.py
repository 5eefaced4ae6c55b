"""`python -m lucid` is the `lucid` command."""

from lucid.cli import main

if __name__ == "__main__":
    main()
