"""Integrals over pairs of sites: overlap and Coulomb metrics, Wigner rotations."""
