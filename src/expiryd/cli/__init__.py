"""The command line: parse, call, print. Each verb imports what it needs when it runs."""

from expiryd.cli.main import main

__all__ = ["main"]
