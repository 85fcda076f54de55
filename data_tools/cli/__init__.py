"""The command group ``data``."""
