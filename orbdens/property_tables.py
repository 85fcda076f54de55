"""Tables of charges and moments, for the terminal."""

from __future__ import annotations

from itertools import combinations_with_replacement

from orbdens.evaluation.tables import Table
from orbdens.properties import AtomicCharges, MolecularMoments

NAMES = {"resp": "RESP", "esp": "ESP", "mbis": "MBIS", "hirshfeld": "Hirshfeld"}


def charge_table(found: AtomicCharges) -> Table:
    """A row for each atom, a column for each scheme."""
    columns = ["atom", *(f"{NAMES[scheme]} [e]" for scheme in found.charges)]
    columns += [f"{NAMES[scheme]} volume [e·Å³]" for scheme, figures in found.figures.items() if "volumes" in figures]
    rows = []
    for atom, symbol in enumerate(found.structure.symbols):
        values = [f"{charges[atom]:.4f}" for charges in found.charges.values()]
        volumes = [figures["volumes"][atom] for figures in found.figures.values() if "volumes" in figures]
        rows.append([f"{symbol}{atom + 1}", *values, *(f"{volume:.3f}" for volume in volumes)])
    fits = [
        f"{NAMES[scheme]} charges reproduce the potential to {figures['rms']:.2f} kcal/mol per e (RMS), "
        f"{100 * figures['relative_rms']:.1f} % of it."
        for scheme, figures in found.figures.items()
        if "rms" in figures
    ]
    return Table(f"{found.name}: {found.structure.formula}", columns, rows, " ".join(fits))


def moment_table(found: MolecularMoments) -> Table:
    """A row for each component that symmetry does not make another's."""
    moments = found.moments
    rows = [["charge", f"{moments.charge:.5f}", "e"]]
    rows += [[f"dipole {axis}", f"{moments.dipole[i]:.5f}", "e·Å"] for i, axis in enumerate("xyz")]
    for i, j in combinations_with_replacement(range(3), 2):
        rows.append([f"quadrupole {'xyz'[i]}{'xyz'[j]}", f"{moments.quadrupole[i, j]:.5f}", "e·Å²"])
    for i, j, k in combinations_with_replacement(range(3), 3):
        rows.append([f"octupole {'xyz'[i]}{'xyz'[j]}{'xyz'[k]}", f"{moments.octupole[i, j, k]:.5f}", "e·Å³"])
    if found.hartree_energy is not None:
        rows.append(["Hartree energy of the electrons", f"{found.hartree_energy:.6f}", "Hartree"])
    x, y, z = moments.origin
    return Table(
        f"{found.name}: {found.structure.formula}",
        ["moment", "value", "unit"],
        rows,
        f"About ({x:.4f}, {y:.4f}, {z:.4f}) Å, the centre of the charges of nuclei or cores; traceless.",
    )


def atom_table(found: MolecularMoments) -> Table:
    """A row for each atom with its multipoles to the quadrupole."""
    assert found.atoms is not None
    rows = [
        [f"{symbol}{atom + 1}", *(f"{value:.4f}" for value in found.atoms[atom])]
        for atom, symbol in enumerate(found.structure.symbols)
    ]
    columns = ["atom", "charge [e]", "y [e·Å]", "z", "x", "xy [e·Å²]", "yz", "z²", "xz", "x²−y²"]
    return Table(
        f"{found.name}: multipoles of atoms",
        columns,
        rows,
        "By MBIS, about each atom, nuclei (or cores) included, in Racah's normalisation.",
    )
