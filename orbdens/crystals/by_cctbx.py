"""The refinement itself, in a process that loads cctbx and no torch: ``refinement.refine`` starts it and asks it."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orbdens.crystal import Crystal
from orbdens.crystals.refinement import STRONG, Refinement, neighbours
from orbdens.errors import UserError
from orbdens.formats.hkl import Reflections

ENOUGH = 8.0
"""Strong reflections for each parameter from which displacements of hydrogen are refined, not set to 1.2 times their
neighbour's."""


def main() -> None:
    """Answer one question: arguments of ``refine`` come in, a ``Refinement`` or a mistake's text goes out."""
    answer_to = sys.stdout.buffer
    sys.stdout = sys.stderr
    try:
        answer: Refinement | str = refine(*pickle.load(sys.stdin.buffer))
    except UserError as error:
        answer = str(error)
    pickle.dump(answer, answer_to)


def refine(crystal: Crystal, reflections: Reflections, table: Path | None, cycles: int) -> Refinement:
    """As ``refinement.refine``, here."""
    from scitbx.lstbx import normal_eqns_solving
    from smtbx.refinement import constraints, least_squares
    from smtbx.structure_factors import direct
    from smtbx.utils import connectivity_table

    structure = cctbx_structure(crystal)
    observed = _observations(crystal, reflections, structure)
    strong = int((observed.data() > STRONG * observed.sigmas()).count(True))
    moving = np.flatnonzero(~crystal.disordered) if cycles else np.zeros(0, dtype=np.int64)
    hydrogen = crystal.numbers == 1
    heavy = int((~hydrogen[moving]).sum())
    n_parameters = 9 * heavy + 4 * (len(moving) - heavy)
    if cycles and strong <= n_parameters:
        raise UserError(f"{crystal.name}: {strong} strong reflections are too few to refine {n_parameters} parameters")
    riding = neighbours(crystal) if strong < ENOUGH * n_parameters else {}
    for number, scatterer in enumerate(structure.scatterers()):
        free = number in set(moving.tolist())
        scatterer.flags.set_grad_site(free)
        scatterer.flags.set_grad_u_aniso(free and scatterer.flags.use_u_aniso())
        scatterer.flags.set_grad_u_iso(free and scatterer.flags.use_u_iso())
    tied = [
        constraints.adp.u_iso_proportional_to_pivot_u_eq(int(h), riding[int(h)], 1.2)
        for h in moving[hydrogen[moving]]
        if int(h) in riding
    ]
    reparametrisation = constraints.reparametrisation(structure, tied, connectivity_table(structure))
    squares = least_squares.crystallographic_ls(
        observed.as_xray_observations(),
        reparametrisation,
        weighting_scheme=least_squares.sigma_weighting(),
        one_h_linearisation=direct.f_calc_modulus_squared(
            structure, table_file_name=None if table is None else str(table)
        ),
        may_parallelise=False,
    )
    try:
        if cycles:
            normal_eqns_solving.levenberg_marquardt_iterations(
                squares, n_max_iterations=cycles, gradient_threshold=1e-8, step_threshold=1e-6
            )
        squares.build_up(objective_only=True)
    except RuntimeError as error:
        raise UserError(f"{crystal.name}: the refinement fails: {error}") from None
    return Refinement(
        crystal=_refined(crystal, structure),
        r1=100 * squares.r1_factor(cutoff_factor=STRONG)[0],
        wr2=100 * squares.wR2(),
        goodness_of_fit=squares.goof(),
        n_reflections=observed.size(),
        n_strong=strong,
        n_parameters=reparametrisation.n_independents,
    )


def cctbx_structure(crystal: Crystal) -> Any:
    """The crystal as cctbx's ``xray.structure``: hydrogen isotropic, anomalous dispersion by the wavelength."""
    from ase.data import chemical_symbols
    from cctbx import adptbx, sgtbx, uctbx, xray
    from cctbx.crystal import special_position_settings, symmetry

    group = sgtbx.space_group()
    for rotation, translation in zip(crystal.rotations, crystal.translations, strict=True):
        twelfths = np.rint(12 * translation).astype(int).tolist()
        group.expand_smx(sgtbx.rt_mx(sgtbx.rot_mx(rotation.reshape(-1).tolist(), 1), sgtbx.tr_vec(twelfths, 12)))
    cell = uctbx.unit_cell(tuple(crystal.parameters.tolist()))
    structure = xray.structure(
        special_position_settings(symmetry(unit_cell=cell, space_group=group), min_distance_sym_equiv=0.2)
    )
    isotropic = crystal.isotropic | (crystal.numbers == 1)
    for number in range(crystal.n_atoms):
        row = crystal.displacements[number].tolist()
        full = None if crystal.isotropic[number] else adptbx.u_cif_as_u_star(cell, row)
        u = (row[0] if full is None else adptbx.u_star_as_u_iso(cell, full)) if isotropic[number] else full
        structure.add_scatterer(
            xray.scatterer(
                label=crystal.labels[number],
                site=crystal.fractions[number].tolist(),
                u=u,
                occupancy=float(crystal.occupancies[number]),
                scattering_type=chemical_symbols[crystal.numbers[number]],
            )
        )
    if crystal.wavelength is not None:
        structure.set_inelastic_form_factors(crystal.wavelength, "sasaki")
    return structure


def _observations(crystal: Crystal, reflections: Reflections, structure: Any) -> Any:
    from cctbx import miller
    from cctbx.array_family import flex

    rows = np.flatnonzero(reflections.measured)
    indices = flex.miller_index([tuple(h) for h in reflections.indices[rows].tolist()])
    group = structure.space_group()
    found = miller.set(structure.crystal_symmetry(), indices, anomalous_flag=not group.is_centric())
    intensities = found.array(
        data=flex.double(reflections.intensities[rows].tolist()), sigmas=flex.double(reflections.sigmas[rows].tolist())
    )
    present = intensities.set_observation_type_xray_intensity().eliminate_sys_absent()
    return present.merge_equivalents().array().set_observation_type_xray_intensity()


def _refined(crystal: Crystal, structure: Any) -> Crystal:
    from cctbx import adptbx

    fractions = np.array([scatterer.site for scatterer in structure.scatterers()])
    displacements = np.full((crystal.n_atoms, 6), np.nan)
    for number, scatterer in enumerate(structure.scatterers()):
        if scatterer.flags.use_u_aniso():
            displacements[number] = adptbx.u_star_as_u_cif(structure.unit_cell(), scatterer.u_star)
        else:
            displacements[number, :3] = scatterer.u_iso
    return replace(crystal, fractions=fractions, displacements=displacements)


if __name__ == "__main__":
    main()
