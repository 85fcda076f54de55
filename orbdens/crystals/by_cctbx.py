"""The refinement itself, in a process of its own: ``refinement.refine`` starts it and asks it.

cctbx crashes where torch or SciPy were loaded before it, so it comes first.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import smtbx.refinement  # noqa: F401

from orbdens.crystal import Crystal
from orbdens.crystals.refinement import STRONG, Refinement, crystal_of, neighbours, plain
from orbdens.errors import UserError
from orbdens.formats.hkl import Reflections

ENOUGH = 8.0
"""Strong reflections for each parameter from which hydrogen is refined freely; else it rides on its neighbour."""

FEWEST = 3.0
"""Strong reflections for each parameter; with fewer a refinement leads nowhere."""

LENGTHS = {6: 1.09, 7: 1.015, 8: 0.985}
"""Å; mean bond lengths of hydrogen by neutrons (F. H. Allen and I. J. Bruno, Acta Cryst. B66, 380, 2010), which riding
atoms get under form factors that are not of spherical atoms."""

ROUNDS = 2
"""Of refinement where hydrogen rides, which follows its neighbours after each."""


def main() -> None:
    """Answer one question: arguments of ``refine`` come in as JSON, a ``Refinement`` or a mistake's text goes out."""
    answer_to, sys.stdout = sys.stdout, sys.stderr
    asked = json.load(sys.stdin)
    crystal = crystal_of(asked["crystal"])
    reflections = Reflections(**{name: np.array(values) for name, values in asked["reflections"].items()})
    try:
        found = refine(crystal, reflections, Path(asked["table"]) if asked["table"] else None, asked["cycles"])
    except UserError as error:
        json.dump({"mistake": str(error)}, answer_to)
    else:
        json.dump(plain(found), answer_to)


def refine(crystal: Crystal, reflections: Reflections, table: Path | None, cycles: int) -> Refinement:
    """As ``refinement.refine``, here."""
    from scitbx.lstbx import normal_eqns_solving
    from smtbx.refinement import constraints, least_squares
    from smtbx.refinement.constraints import adp
    from smtbx.structure_factors import direct
    from smtbx.utils import connectivity_table

    observed = _observations(crystal, reflections, cctbx_structure(crystal))
    strong = int((observed.data() > STRONG * observed.sigmas()).count(True))
    moving = set(np.flatnonzero(~crystal.disordered).tolist()) if cycles else set()
    hydrogen = set(np.flatnonzero(crystal.numbers == 1).tolist())
    n_parameters = 9 * len(moving - hydrogen) + 4 * len(moving & hydrogen)
    riding = {}
    if cycles and strong < ENOUGH * n_parameters:
        riding = {h: pivot for h, pivot in neighbours(crystal).items() if h in moving and pivot in moving}
        n_parameters -= 4 * len(riding)
        if table is not None:
            crystal = _with_lengths(crystal, riding)
    if cycles and strong < FEWEST * n_parameters:
        raise UserError(f"{crystal.name}: {strong} strong reflections are too few to refine {n_parameters} parameters")
    for _ in range(ROUNDS if riding else 1):
        structure = cctbx_structure(crystal)
        for number, scatterer in enumerate(structure.scatterers()):
            scatterer.flags.set_grad_site(number in moving and number not in riding)
            scatterer.flags.set_grad_u_aniso(number in moving and scatterer.flags.use_u_aniso())
            scatterer.flags.set_grad_u_iso(number in moving and scatterer.flags.use_u_iso())
        tied = [adp.u_iso_proportional_to_pivot_u_eq(h, pivot, 1.2) for h, pivot in riding.items()]
        reparametrisation = constraints.reparametrisation(structure, tied, connectivity_table(structure))
        factors = direct.f_calc_modulus_squared(structure, table_file_name=None if table is None else str(table))
        squares = least_squares.crystallographic_ls(
            observed.as_xray_observations(),
            reparametrisation,
            weighting_scheme=least_squares.sigma_weighting(),
            one_h_linearisation=factors,
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
        refined = _refined(crystal, structure)
        for h, pivot in riding.items():
            refined.fractions[h] += refined.fractions[pivot] - crystal.fractions[pivot]
        crystal = refined
    return Refinement(
        crystal=crystal,
        r1=100 * squares.r1_factor(cutoff_factor=STRONG)[0],
        wr2=100 * squares.wR2(),
        goodness_of_fit=squares.goof(),
        n_reflections=observed.size(),
        n_strong=strong,
        n_parameters=reparametrisation.n_independents,
    )


def _with_lengths(crystal: Crystal, riding: dict[int, int]) -> Crystal:
    """Riding hydrogen atoms at ``LENGTHS`` from their neighbours, in the same direction."""
    fractions = crystal.fractions.copy()
    for h, pivot in riding.items():
        bond = crystal.fractions[h] - crystal.fractions[pivot]
        length = float(np.linalg.norm(bond @ crystal.cell))
        fractions[h] = crystal.fractions[pivot] + bond * LENGTHS.get(int(crystal.numbers[pivot]), length) / length
    return replace(crystal, fractions=fractions)


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
