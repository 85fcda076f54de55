"""What follows from a density: its free atoms and cores, X-ray form factors of its atoms."""
