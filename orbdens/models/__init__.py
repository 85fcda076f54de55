"""Models: each takes a structure and gives a density."""
