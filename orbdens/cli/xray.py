"""The verb that makes form factors of crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orbdens.cli.options import Device, Force, Json
from orbdens.errors import UserError


def xray(
    cif: Annotated[Path, typer.Argument(metavar="CIF", help="The crystal: cell, symmetry, atoms.")],
    hkl: Annotated[
        Path | None,
        typer.Argument(
            metavar="[HKL]", help="Reflections: SHELX's HKLF 4, a CIF or an fcf [default: those in the CIF]."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="model.safetensors or the run folder that holds it [default: general, which ships]."),
    ] = None,
    charge: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=Q", help="Charge in e of the molecule that holds an atom, as in N1=1; repeatable."),
    ] = None,
    d_min: Annotated[
        float | None,
        typer.Option(min=0.2, max=10.0, help="All reflections down to this spacing, Å, besides those of the file."),
    ] = None,
    passes: Annotated[
        int,
        typer.Option(min=0, max=20, help="Refine so often by cctbx, each time with form factors at the new geometry."),
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File of the table [default: the CIF's name, .tsc, here].")
    ] = None,
    json: Json = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Form factors of a crystal's atoms from predicted densities, for refinement beyond spherical atoms.

    Writes NAME.tsc, which olex2.refine and cctbx read: complex form factors in e of every atom for every reflection
    and its equivalents. Molecules are made whole by symmetry and predicted one by one; disordered groups are told
    apart. With --passes cctbx refines (extra xray), and NAME.refined.cif, R1 in %, goodness of fit and bond lengths
    in Å before and after are given.

    Example: orbdens xray crystal.cif crystal.hkl     Example: orbdens xray crystal.cif crystal.hkl --passes 2
    """
    charges = dict(_charge(text) for text in charge or [])
    from orbdens.cli.screen import stderr, stdout
    from orbdens.crystals.xray import Request
    from orbdens.crystals.xray import xray as compute
    from orbdens.progress import Display

    with Display() as display:
        result = compute(Request(cif, hkl, model, charges, d_min, passes, out, json, force, device), display.count)
    for molecule, density in zip(result.molecules, result.densities, strict=True):
        share = "" if molecule.weight > 0.999 else f"   share {molecule.weight:.2f}"
        expected = "" if density.expected_error is None else f"   expected NMAE {density.expected_error:.2f} %"
        stdout.print(f"{molecule.structure.formula}   charge {molecule.structure.charge:+d}{share}{expected}")
        for warning in density.warnings:
            stderr.print(f"warning: {molecule.structure.formula}: {warning}", soft_wrap=True)
    for stage in result.stages:
        found, mean = stage.refinement, stage.figures["mean_ch_angstrom"]
        bonds = "" if mean is None else f"   mean C-H {mean:.3f} Å"
        stdout.print(
            f"{stage.name}: R1 {found.r1:.2f} % of {found.n_strong} strong reflections, wR2 {found.wr2:.2f} %, "
            f"goodness of fit {found.goodness_of_fit:.2f}{bonds}",
            soft_wrap=True,
        )
    stdout.print(f"{result.table}   {result.n_reflections} reflections", soft_wrap=True)
    if result.refined is not None:
        stdout.print(f"{result.refined}", soft_wrap=True)


def _charge(text: str) -> tuple[str, int]:
    label, _, number = text.partition("=")
    try:
        return label, int(number)
    except ValueError:
        raise UserError(f"expected a charge as LABEL=Q, for example N1=1, but got '{text}'") from None
