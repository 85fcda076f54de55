"""Sums of atom-centred Gaussian orbitals: fields, integrals, metrics. One object, one operator, three backends.

Everything outside this folder comes in through here. See README.md beside this file.
"""

from orbdens.kernels.backends import BACKENDS, backend_device, choose_backend, validate
from orbdens.kernels.degrees import multiply_degrees, row_degrees, scale_degrees
from orbdens.kernels.fields import (
    density_from_orbitals,
    orbital_field_derivatives,
    orbital_field_hessians,
    orbital_fields,
    orbital_fields_on_grid,
)
from orbdens.kernels.harmonics import monomials, solid_harmonics
from orbdens.kernels.integrals import (
    orbital_field_integrals,
    orbital_field_moments,
    orbital_field_transforms,
    shell_integrals,
    shell_moments,
)
from orbdens.kernels.multipoles import moved_multipoles, site_multipoles, sphere_quadrature
from orbdens.kernels.orbitals import Orbitals
from orbdens.kernels.pairs.closed_form import Gaussians, density_projections, overlaps
from orbdens.kernels.pairs.edge_frames import pack_rotations, to_frames, to_sites
from orbdens.kernels.pairs.metric import metric_product
from orbdens.kernels.pairs.pair_metric import split_by_degree
from orbdens.kernels.pairs.tabulated import TabulatedMetric
from orbdens.kernels.pairs.two_centre import Metric
from orbdens.kernels.pairs.wigner import edge_rotations
from orbdens.kernels.potentials import orbital_potentials, potential_definition
from orbdens.kernels.shells import Shells, normalisation

__all__ = [
    "BACKENDS",
    "Gaussians",
    "Metric",
    "Orbitals",
    "Shells",
    "TabulatedMetric",
    "backend_device",
    "choose_backend",
    "density_from_orbitals",
    "density_projections",
    "edge_rotations",
    "metric_product",
    "monomials",
    "moved_multipoles",
    "multiply_degrees",
    "normalisation",
    "orbital_field_derivatives",
    "orbital_field_hessians",
    "orbital_field_integrals",
    "orbital_field_moments",
    "orbital_field_transforms",
    "orbital_fields",
    "orbital_fields_on_grid",
    "orbital_potentials",
    "overlaps",
    "pack_rotations",
    "potential_definition",
    "row_degrees",
    "scale_degrees",
    "shell_integrals",
    "shell_moments",
    "site_multipoles",
    "solid_harmonics",
    "sphere_quadrature",
    "split_by_degree",
    "to_frames",
    "to_sites",
    "validate",
]
