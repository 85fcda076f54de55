"""The CPU backend: Numba."""
