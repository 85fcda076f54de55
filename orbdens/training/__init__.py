"""Training of any model on any store."""
