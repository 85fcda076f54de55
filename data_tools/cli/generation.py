"""The commands that make structures and calculate their densities. Every one imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_tools.choices import ForceProgram, SamplingMethod
from orbdens.cli.options import Device
from orbdens.errors import UserError

Structures = Annotated[
    list[Path],
    typer.Argument(metavar="STRUCTURES...", help="Files that ASE reads, of many frames each (xyz, traj, cif, ...)."),
]
OutXyz = Annotated[Path, typer.Argument(metavar="OUT.xyz", help="Extended xyz file to write.")]
Forces = Annotated[ForceProgram, typer.Option(help="Program that calculates forces; tblite (GFN2-xTB) is much faster.")]
Pseudo = Annotated[
    str | None,
    typer.Option(
        help="Pseudopotential or core potential as PySCF names it, or none for all electrons [default: gth-pbe with a "
        "gth basis, else none]."
    ),
]
ForceFile = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]


def generate(
    structures: Structures,
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store to make.")],
    xc: Annotated[str, typer.Option(help="Functional as PySCF names it; hf is Hartree-Fock.")] = "pbe",
    basis: Annotated[str, typer.Option(help="Basis as PySCF names it.")] = "gth-dzvp",
    pseudo: Pseudo = None,
    charge: Annotated[
        int | None,
        typer.Option(help="Total charge of every structure, e [default: charge of the frame's info, or 0]."),
    ] = None,
    multiplicity: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Multiplicity 2S + 1 of every structure, by UKS above 1 [default: multiplicity of the frame's info, "
            "or 1].",
        ),
    ] = None,
    density_fit: Annotated[bool, typer.Option("--density-fit", help="Fit the products of orbitals.")] = False,
    auxbasis: Annotated[
        str | None, typer.Option(help="Basis of that fit, e.g. def2-universal-jfit [default: PySCF's choice].")
    ] = None,
    grid_level: Annotated[int, typer.Option(min=0, max=9, help="Level of the integration grid of the functional.")] = 3,
    conv_tol: Annotated[
        float, typer.Option(min=1e-14, max=1e-2, help="Change of the energy at which the SCF has converged, Hartree.")
    ] = 1e-9,
    max_cycle: Annotated[int, typer.Option(min=1, help="SCF cycles before the next way to converge is tried.")] = 50,
    ke_cutoff: Annotated[
        float | None,
        typer.Option(min=1, help="Cut-off of the plane waves of a crystal's mesh, Hartree [default: PySCF's choice]."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="train=0.8,test=0.2", help="Shares of random splits [default: all structures in one split, all]."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random splits.")] = 0,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Number of processes, of one thread each [default: one a core].")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Calculate on this dask.distributed cluster instead.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume, calculate again what failed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a store that exists.")] = False,
) -> None:
    """Calculate the densities of structures with PySCF and store them.

    Molecules become records of occupied orbitals, of both spins where there are unpaired electrons; crystals become
    grids of the density at the gamma point. Positions in Å, energies in Hartree. A calculation that does not converge
    is tried again with a level shift and then by the second-order solver; structures that still fail are left out,
    with the reason in the store's manifest. The store can be read at any moment.

    Example: orbdens data generate frames.xyz frames.store --split train=0.8,test=0.2
    """
    from data_tools.cli.parsing import parse_splits
    from data_tools.generation.generate import generate as run
    from data_tools.generation.settings import Settings
    from data_tools.generation.structures import Structures as ReadStructures
    from orbdens.cli.screen import stderr, stdout
    from orbdens.progress import Display
    from orbdens.pyscf.bases import pseudo_for

    settings = Settings(
        xc=xc,
        basis=basis,
        pseudo=pseudo_for(basis, pseudo),
        density_fit=density_fit,
        auxbasis=auxbasis,
        grid_level=grid_level,
        conv_tol=conv_tol,
        max_cycle=max_cycle,
        ke_cutoff=ke_cutoff,
    )
    shares = None if split is None else parse_splits(split)
    read = ReadStructures.read(structures, charge, multiplicity)
    try:
        with Display() as display:
            made = run(
                read,
                store,
                settings,
                splits=shares,
                seed=seed,
                processes=processes,
                scheduler=scheduler,
                resume=resume,
                retry_failed=retry_failed,
                overwrite=force,
                progress=display.count,
            )
    except KeyboardInterrupt:
        if store.exists():
            stderr.print(f"finished records are in {store}: the same command with --resume continues", soft_wrap=True)
        raise
    if made.failed:
        key, reason = next(iter(made.failed.items()))
        stderr.print(f"{len(made.failed)} left out (reasons in {store}/manifest.json); {key}: {reason}", soft_wrap=True)
    stdout.print(f"wrote {store}, {made.count} records   next: orbdens data inspect {store}", soft_wrap=True)


def geometries(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File of one molecule that ASE reads, or a SMILES.")],
    out: OutXyz,
    frames: Annotated[int, typer.Option(min=1, help="Number of geometries.")] = 1000,
    method: Annotated[
        SamplingMethod,
        typer.Option(help="Langevin dynamics, or classical harmonic vibrations about the minimum."),
    ] = "md",
    temperature: Annotated[float, typer.Option(min=1, help="Temperature, K.")] = 300.0,
    every: Annotated[float, typer.Option(help="Time of dynamics from frame to frame, fs.")] = 40.0,
    step: Annotated[float, typer.Option(min=0.01, help="Time step of the dynamics, fs.")] = 0.5,
    friction: Annotated[float, typer.Option(min=1e-6, help="Friction of the dynamics, 1/fs.")] = 0.01,
    equilibration: Annotated[float, typer.Option(min=0, help="Time of dynamics before the first frame, fs.")] = 1000.0,
    forces: Forces = "pyscf",
    xc: Annotated[str, typer.Option(help="Functional of PySCF's forces.")] = "pbe",
    basis: Annotated[str, typer.Option(help="Basis of PySCF's forces.")] = "gth-dzvp",
    pseudo: Pseudo = None,
    charge: Annotated[
        int | None,
        typer.Option(help="Total charge, e [default: that of the SMILES or of the frame's info, or 0]."),
    ] = None,
    multiplicity: Annotated[
        int | None,
        typer.Option(min=1, help="Multiplicity 2S + 1 [default: that of the SMILES or of the frame's info, or 1]."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random velocities, forces and displacements.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that exists, and the frames of an interrupted run.")
    ] = False,
) -> None:
    """Sample geometries of one molecule, as orbdens data generate takes them.

    The molecule is relaxed first. Positions in Å, momenta in ASE's units, charge and multiplicity in every frame.
    Dynamics of 1000 frames take 80,000 calculations of forces, normal modes 6 for each atom.

    Example: orbdens data geometries CCO frames.xyz --forces tblite
    """
    from dataclasses import replace

    from data_tools.generation.geometries import write_geometries
    from data_tools.generation.rdkit_bridge import find_molecule
    from data_tools.generation.sampling import LEVEL_OF_FORCES, Sampling
    from orbdens.cli.screen import stderr, stdout
    from orbdens.progress import Display
    from orbdens.pyscf.bases import pseudo_for

    sampling = Sampling(
        method=method,
        temperature=temperature,
        frames=frames,
        every=every,
        step=step,
        friction=friction,
        equilibration=equilibration,
        seed=seed,
        forces=forces,
        settings=replace(LEVEL_OF_FORCES, xc=xc, basis=basis, pseudo=pseudo_for(basis, pseudo)),
    )
    molecule = find_molecule(source, seed, charge, multiplicity)
    try:
        with Display() as display:
            write_geometries(molecule, out, sampling, resume=resume, overwrite=force, progress=display.count)
    except KeyboardInterrupt:
        stderr.print(f"frames so far are in {out}.part: the same command with --resume continues", soft_wrap=True)
        raise
    stdout.print(f"wrote {out}   next: orbdens data generate {out} {out.with_suffix('.store')}", soft_wrap=True)


def molecules(
    smiles: Annotated[Path, typer.Argument(metavar="FILE.smi", help="Text file with a SMILES at the start of a line.")],
    out: OutXyz,
    variants: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of new molecules to make instead, which differ from the given ones by a change of one atom or "
            "bond, or a few.",
        ),
    ] = None,
    largest: Annotated[int, typer.Option(min=1, help="Number of heavy atoms of the largest variant.")] = 7,
    elements: Annotated[
        str, typer.Option(metavar="C,N,O,...", help="Elements that changes put into variants, beside hydrogen.")
    ] = "C,N,O,F",
    charges: Annotated[
        str, typer.Option(metavar="-1,0,1", help="Total charges of variants, e; ions by taking or adding a proton.")
    ] = "0",
    exclude: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.smi",
            help="Molecules that no variant may be, e.g. those of a test set; nor their ions and stereoisomers.",
        ),
    ] = None,
    forces: Forces = "tblite",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random changes and of the first coordinates.")] = 0,
    force: ForceFile = False,
) -> None:
    """Relax many molecules, as orbdens data generate takes them: one minimum each, in Å, with SMILES and charge.

    With --variants, new closed-shell molecules, to widen a training set with: take those of them that a model knows
    least by orbdens data select.

    Example: orbdens data molecules known.smi new.xyz --variants 1000 --elements C,N,O,S --charges -1,0,1
    """
    from itertools import islice

    from data_tools.cli.parsing import parse_charges, parse_elements
    from data_tools.generation.minima import write_minima
    from data_tools.generation.variants import read_smiles, skeleton
    from data_tools.generation.variants import variants as vary
    from orbdens.cli.screen import stderr, stdout
    from orbdens.progress import Display

    chosen = read_smiles(smiles)
    if variants is not None:
        hidden = set() if exclude is None else {skeleton(one) for one in read_smiles(exclude)}
        found = vary(chosen, largest, seed, elements=parse_elements(elements), charges=parse_charges(charges))
        chosen = list(islice((one for one in found if not hidden or skeleton(one) not in hidden), variants))
    elif exclude is not None:
        raise UserError("--exclude goes with --variants")
    with Display() as display:
        skipped = write_minima(chosen, out, forces, seed=seed, overwrite=force, progress=display.count)
    if skipped:
        stderr.print(f"{len(skipped)} left out; {next(iter(skipped.values()))}", soft_wrap=True)
    stdout.print(
        f"wrote {out}, {len(chosen) - len(skipped)} molecules   next: orbdens data generate {out} "
        f"{out.with_suffix('.store')}",
        soft_wrap=True,
    )


def distort(
    structures: Structures,
    out: OutXyz,
    copies: Annotated[int, typer.Option(min=1, help="Number of copies of each structure.")] = 3,
    scale: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Range of the random factor on all lengths of a copy.")
    ] = "1,1",
    rattle: Annotated[
        float, typer.Option(min=0, help="Standard deviation of random shifts of every coordinate, Å.")
    ] = 0.0,
    stretch: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Largest stretch of one bond of a copy, outside of rings, as a fraction of its length."
        ),
    ] = 0.0,
    xray_hydrogens: Annotated[
        bool,
        typer.Option("--xray-hydrogens", help="Give bonds to hydrogen X-ray lengths: C-H 0.95, N-H 0.86, O-H 0.84 Å."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 0,
    force: ForceFile = False,
) -> None:
    """Make distorted copies of molecules, so that a training set holds more than minima.

    X-ray lengths come first, then the stretch, the scale and the shifts. Positions in Å; charge and multiplicity stay.

    Example: orbdens data distort minima.xyz distorted.xyz --scale 0.92,1.1 --rattle 0.05
    """
    from data_tools.cli.parsing import parse_range
    from data_tools.generation.distorting import Distortion, write_distorted
    from orbdens.cli.screen import stdout
    from orbdens.progress import Display

    distortion = Distortion(xray_hydrogens=xray_hydrogens, stretch=stretch, scale=parse_range(scale), rattle=rattle)
    with Display() as display:
        n = write_distorted(structures, out, distortion, copies, seed=seed, overwrite=force, progress=display.count)
    stdout.print(
        f"wrote {out}, {n} structures   next: orbdens data generate {out} {out.with_suffix('.store')}", soft_wrap=True
    )


def select(
    structures: Structures,
    out: OutXyz,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of structures to choose.")],
    model: Annotated[
        Path | None,
        typer.Option(help="A model.safetensors, or the run folder that holds it [default: general, which ships]."),
    ] = None,
    device: Device = "auto",
    force: ForceFile = False,
) -> None:
    """Choose the structures that a model knows least: those whose densities are worth calculating next.

    They have the largest expected NMAE, in %, which stands in every frame. Positions in Å.

    Example: orbdens data select frames.xyz next.xyz --n 100 --model runs/ethanol
    """
    from data_tools.generation.selecting import select as run
    from orbdens.cli.screen import stdout
    from orbdens.files import check_output
    from orbdens.progress import Display

    check_output(out, force)
    with Display() as display:
        least, median = run(model, structures, out, n, display.count, device)
    stdout.print(
        f"wrote {out}, {n} structures of expected NMAE from {least:.3g} % (median of all {median:.3g} %)   next: "
        f"orbdens data generate {out} {out.with_suffix('.store')}",
        soft_wrap=True,
    )
