"""What is particular to PySCF: the order of its orbitals and Bohr; nothing else of orbdens knows them."""
