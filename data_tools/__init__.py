"""Tools that make and look into stores of densities; ``orbdens data`` calls them."""
