"""``orbdens data``: verbs that make stores and look into them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_tools.cli import stores

app = typer.Typer(no_args_is_help=True, help="Make stores of densities and look into them.")
for verb in (stores.inspect, stores.split, stores.subset, stores.merge, stores.convert, stores.verify):
    app.command()(verb)


@app.command("import")
def import_(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Files, folders or tar archives of one kind, in order.")
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder to make.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="npz, orbitals (PySCF checkpoint, Molden, fchk), chgcar, cube, md, residual-cnn or crystal-json "
            "[default: told by names and contents].",
        ),
    ] = None,
    density: Annotated[str | None, typer.Option(help="Of grids: valence or all-electron [default: valence].")] = None,
    valence: Annotated[
        str, typer.Option(help="Electrons of an atom in a grid's density, e.g. C=4,Ti=12 [default: PAW's].")
    ] = "",
    elements: Annotated[
        str, typer.Option(help="Where files do not name them: of the kinds of atoms in CHGCARs, of all in MD sets.")
    ] = "",
    charge: Annotated[int, typer.Option(help="Of every structure of a source of grids, in e.")] = 0,
    level: Annotated[str, typer.Option(help="Level of theory of grids, e.g. xc=PBE,cutoff=400 eV.")] = "",
    dtype: Annotated[str, typer.Option(help="Of the values of grids: float32, or float16 (its error is measured).")] = (
        "float32"
    ),
    splits: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON: named lists of keys, or of places in the order of the sources from 0."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Electrons by which the sum over a grid may miss their number.")
    ] = 0.05,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out what cannot be read, with the reason in the manifest.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Import only so many records, from the front.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted import.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a store that exists.")] = False,
) -> None:
    """Turn published or calculated densities into a store.

    CHGCAR files of VASP and Gaussian cube files (also .gz, .xz, .bz2, .lz4, .zz, and in tar archives as QM9-VASP has
    them), MD sets in Fourier coefficients, the residual CNN's folders, JSON of cubic crystals, files of orbitals, .npz
    files; data_tools/README.md tells layouts and units. Grids are stored in e/Å³ and must sum to the number of
    electrons. The store can be read at any moment; the same command with --resume goes on after an interruption.

    Example: orbdens data import qm9/*.tar qm9.store --splits datasplits.json --dtype float16
    """
    from data_tools.sources.importing import import_source
    from data_tools.sources.kinds import open_source
    from data_tools.sources.reading import Reading, stated_level
    from data_tools.sources.valence import stated_elements, stated_valence
    from orbdens.cli.screen import stderr, stdout
    from orbdens.errors import UserError

    if resume and force:
        raise UserError("--resume and --force exclude each other")
    reading = Reading(
        density=density,
        valence=stated_valence(valence),
        elements=stated_elements(elements),
        charge=charge,
        level=stated_level(level),
        dtype=dtype,
        splits=splits,
    )
    source = open_source(sources, reading, kind)
    try:
        done = import_source(
            source,
            store,
            resume=resume,
            overwrite=force,
            tolerance=tolerance,
            skip_broken=skip_broken,
            limit=limit,
        )
    except KeyboardInterrupt:
        if store.exists():
            stderr.print(f"finished records are in {store}: the same command with --resume goes on", soft_wrap=True)
        raise
    if done.skipped:
        reason = next(iter(done.skipped.values()))
        stderr.print(f"{len(done.skipped)} left out (reasons in {store}/manifest.json): {reason}", soft_wrap=True)
    if done.not_found:
        stderr.print(f"{done.not_found} entries of {splits} are not in the store", soft_wrap=True)
    stdout.print(f"wrote {store}, {done.count} records   next: orbdens data inspect {store}", soft_wrap=True)


@app.command()
def generate(
    structures: Annotated[
        list[Path],
        typer.Argument(
            metavar="STRUCTURES...", help="Files that ASE reads, of many frames each (xyz, traj, cif, ...)."
        ),
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Folder to make.")],
    xc: Annotated[str, typer.Option(help="Functional as PySCF names it; hf is Hartree-Fock.")] = "pbe",
    basis: Annotated[str, typer.Option(help="Basis as PySCF names it.")] = "gth-dzvp",
    pseudo: Annotated[
        str | None,
        typer.Option(
            help="Pseudopotential or core potential as PySCF names it, or none for all electrons [default: gth-pbe "
            "with a gth basis, else none]."
        ),
    ] = None,
    charge: Annotated[
        int | None, typer.Option(help="Of every structure, in e [default: charge of the frame's info, or 0].")
    ] = None,
    multiplicity: Annotated[
        int | None,
        typer.Option(
            min=1, help="2S + 1 of every structure, UKS above 1 [default: multiplicity of the frame's info, or 1]."
        ),
    ] = None,
    density_fit: Annotated[bool, typer.Option("--density-fit", help="Fit products of orbitals.")] = False,
    auxbasis: Annotated[
        str | None, typer.Option(help="Basis of that fit, e.g. def2-universal-jfit [default: PySCF's choice].")
    ] = None,
    grid_level: Annotated[int, typer.Option(min=0, max=9, help="Of the functional's integration grid.")] = 3,
    conv_tol: Annotated[float, typer.Option(min=1e-14, max=1e-2, help="SCF tolerance, Hartree.")] = 1e-9,
    max_cycle: Annotated[int, typer.Option(min=1, help="SCF cycles before the next way to converge is tried.")] = 50,
    ke_cutoff: Annotated[
        float | None, typer.Option(min=1, help="Of a crystal's mesh, Hartree [default: PySCF's choice].")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Random splits, e.g. train=0.8,test=0.2 [default: all structures in all].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits.")] = 0,
    processes: Annotated[int | None, typer.Option(min=1, help="Of one thread each [default: one per core].")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Calculate on this dask.distributed cluster instead.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: calculate again what failed.")
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
    from data_tools.generation.generate import Source, parse_splits
    from data_tools.generation.generate import generate as run
    from data_tools.generation.scf import Settings, pseudo_for
    from orbdens.cli.screen import stderr, stdout
    from orbdens.progress import Display

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
    source = Source.read(structures, charge, multiplicity)
    try:
        with Display() as display:
            made = run(
                source,
                store,
                settings,
                splits=shares,
                seed=seed,
                processes=processes,
                scheduler=scheduler,
                resume=resume,
                retry_failed=retry_failed,
                overwrite=force,
                display=display,
            )
    except KeyboardInterrupt:
        stderr.print(f"finished records are in {store}: the same command with --resume goes on", soft_wrap=True)
        raise
    if made.failed:
        key, reason = next(iter(made.failed.items()))
        stderr.print(f"{len(made.failed)} left out (reasons in {store}/manifest.json); {key}: {reason}", soft_wrap=True)
    stdout.print(f"wrote {store}, {made.count} records   next: orbdens data inspect {store}", soft_wrap=True)


@app.command()
def geometries(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="File of one molecule that ASE reads, or a SMILES.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.xyz", help="Extended xyz file to write.")],
    frames: Annotated[int, typer.Option(min=1, help="How many geometries.")] = 1000,
    method: Annotated[
        str, typer.Option(help="md (Langevin dynamics) or normal-modes (classical harmonic vibrations).")
    ] = "md",
    temperature: Annotated[float, typer.Option(min=1, help="K.")] = 300.0,
    every: Annotated[float, typer.Option(help="fs of dynamics from frame to frame.")] = 40.0,
    step: Annotated[float, typer.Option(min=0.01, help="fs; of the dynamics.")] = 0.5,
    friction: Annotated[float, typer.Option(min=1e-6, help="1/fs; of the dynamics.")] = 0.01,
    equilibration: Annotated[float, typer.Option(min=0, help="fs of dynamics before the first frame.")] = 1000.0,
    forces: Annotated[
        str, typer.Option(help="pyscf, or tblite (GFN2-xTB) where it is installed: a hundred times faster.")
    ] = "pyscf",
    xc: Annotated[str, typer.Option(help="Functional of PySCF's forces.")] = "pbe",
    basis: Annotated[str, typer.Option(help="Basis of PySCF's forces.")] = "gth-dzvp",
    pseudo: Annotated[
        str | None, typer.Option(help="Pseudopotential, or none [default: gth-pbe with a gth basis, else none].")
    ] = None,
    charge: Annotated[
        int | None, typer.Option(help="e [default: that of the SMILES or of the frame's info, or 0].")
    ] = None,
    multiplicity: Annotated[
        int | None, typer.Option(min=1, help="2S + 1 [default: that of the SMILES or of the frame's info, or 1].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Sample geometries of one molecule, as orbdens data generate takes them.

    The molecule is relaxed first. Positions in Å, momenta in ASE's units, charge and multiplicity in every frame.
    Dynamics of 1000 frames take 80,000 calculations of forces, normal modes 6 for each atom.

    Example: orbdens data geometries CCO frames.xyz --forces tblite
    """
    from dataclasses import replace

    from data_tools.generation.geometries import LEVEL_OF_FORCES, Sampling, find_molecule, write_geometries
    from data_tools.generation.scf import pseudo_for
    from orbdens.cli.screen import stderr, stdout
    from orbdens.progress import Display

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
            write_geometries(molecule, out, sampling, resume=resume, overwrite=force, on_progress=display.count)
    except KeyboardInterrupt:
        stderr.print(f"frames so far are in {out}.part: the same command with --resume goes on", soft_wrap=True)
        raise
    stdout.print(f"wrote {out}   next: orbdens data generate {out} {out.with_suffix('.store')}", soft_wrap=True)


@app.command()
def molecules(
    smiles: Annotated[Path, typer.Argument(metavar="FILE.smi", help="A SMILES at the start of every line.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.xyz", help="Extended xyz file to write.")],
    variants: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Make so many molecules that differ from these by a change of one atom or bond or a few instead.",
        ),
    ] = None,
    largest: Annotated[int, typer.Option(min=1, help="Heavy atoms of a variant.")] = 7,
    exclude: Annotated[
        Path | None, typer.Option(metavar="FILE.smi", help="Molecules that no variant may be, e.g. those of the test.")
    ] = None,
    forces: Annotated[
        str, typer.Option(help="pyscf, or tblite (GFN2-xTB) where it is installed: a hundred times faster.")
    ] = "tblite",
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Relax many molecules, as orbdens data generate takes them: one minimum each, in Å, with its SMILES.

    With --variants, new neutral closed-shell molecules of C, N, O, F and H, to widen a training set with: take those of
    them that a model knows least by orbdens data select.

    Example: orbdens data molecules known.smi new.xyz --variants 1000 --exclude test.smi
    """
    from itertools import islice

    from data_tools.generation.molecules import canonical, read_smiles, write_minima
    from data_tools.generation.molecules import variants as vary
    from orbdens.cli.screen import stderr, stdout
    from orbdens.errors import UserError
    from orbdens.progress import Display

    chosen = read_smiles(smiles)
    if variants is not None:
        hidden = set() if exclude is None else {canonical(one) for one in read_smiles(exclude)}
        chosen = list(islice((one for one in vary(chosen, largest, seed) if one not in hidden), variants))
    elif exclude is not None:
        raise UserError("--exclude goes with --variants")
    with Display() as display:
        skipped = write_minima(
            chosen,
            out,
            forces,
            seed=seed,
            overwrite=force,
            on_progress=lambda done: display.count("molecules", done, len(chosen)),
        )
    if skipped:
        stderr.print(f"{len(skipped)} left out; {next(iter(skipped.values()))}", soft_wrap=True)
    stdout.print(
        f"wrote {out}, {len(chosen) - len(skipped)} molecules   next: orbdens data generate {out} "
        f"{out.with_suffix('.store')}",
        soft_wrap=True,
    )


@app.command()
def select(
    structures: Annotated[
        list[Path], typer.Argument(metavar="STRUCTURES...", help="Files that ASE reads, of many frames each.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.xyz", help="Extended xyz file to write.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many.")],
    model: Annotated[
        Path, typer.Option(help="model.safetensors, the run folder that holds it, or the word organics.")
    ] = Path("organics"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
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
        least, median = run(
            model, structures, out, n, on_progress=lambda done, total: display.count("structures", done, total)
        )
    stdout.print(
        f"wrote {out}, {n} structures of expected NMAE from {least:.3g} % (median of all {median:.3g} %)   next: "
        f"orbdens data generate {out} {out.with_suffix('.store')}",
        soft_wrap=True,
    )
