"""Kernel regression on atomic environments, SALTED's way."""
