"""Models that the orbital model is compared with."""
