"""What is particular to PySCF: the order of its orbitals and Bohr; nothing else of orbdens knows them.

``order`` maps rows of orbitals, ``bases`` reads bases, ``records`` takes over finished calculations, and ``integrals``
has analytic integrals of records and of any Gaussian functions on sites. Importing any of them imports PySCF, which
takes a second: models import them where they fit labels, not where they predict.
"""
