"""The Hohenberg-Kohn map, from potential to density, by kernel ridge regression."""
