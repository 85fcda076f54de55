"""What follows from a density: potentials, charges, moments; free atoms, cores, X-ray form factors; see README.md."""
