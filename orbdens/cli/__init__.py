"""The command line: parses, calls one verb, and tells the user's mistakes in one sentence. Imports nothing heavy."""

from orbdens.cli.main import main

__all__ = ["main"]
