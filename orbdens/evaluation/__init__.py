"""Measuring models against reference densities, and showing what was measured."""
