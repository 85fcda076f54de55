"""What people want of a density: potential, field, surfaces, charges, multipoles; see README.md."""
