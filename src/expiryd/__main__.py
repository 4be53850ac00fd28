"""`python -m expiryd` is `expiryd`."""

from expiryd.cli import main

if __name__ == "__main__":
    main()
