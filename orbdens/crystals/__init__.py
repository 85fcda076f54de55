"""Measured crystals: molecules made whole by symmetry, form factors of their atoms, and refinement against them."""
