"""Structures to calculate, and their densities from PySCF."""
