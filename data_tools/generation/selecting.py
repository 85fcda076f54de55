"""Which structures a model knows least: those whose densities are worth calculating next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbdens import shipped
from orbdens.checkpoint import load_model
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.formats.structures import read_structures, write_frame
from orbdens.progress import Progress, silent


def select(
    model: Path | None,
    files: Sequence[Path],
    out: Path,
    n: int,
    progress: Progress = silent,
    device: str = "auto",
) -> tuple[float, float]:
    """Write the structures of largest expected error, in the order of the files, to an extended xyz file (Å).

    Every frame holds its charge, its multiplicity and ``expected_nmae`` in %.

    Args:
        model: model.safetensors, the run folder that holds it, or None for the weights that ship.
        files: structure files that ASE reads.
        out: replaced if it exists.
        n: how many.
        progress: told of the work.
        device: where the model computes, as in ``orbdens.devices``.

    Returns:
        The smallest expected NMAE in % of those taken, and the median of all.

    Raises:
        UserError: a file cannot be read, holds an element that the model never saw, or the model has no errors to
            expect; ``n`` is more than there are, or there is no such device.
    """
    structures = [structure for file in files for structure in read_structures(file)]
    if n > len(structures):
        raise UserError(f"{n} structures cannot be chosen from {len(structures)}")
    network = load_model(model, device)
    expected: list[float] = []
    for density in network.predict_many(structures):
        if density.expected_error is None:
            raise UserError(f"{model or shipped.MODEL} was trained without what it takes to expect an error")
        expected.append(density.expected_error)
        progress("structures", len(expected), len(structures))
    errors = np.array(expected)
    chosen = np.sort(np.argsort(-errors, kind="stable")[:n])
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for i in chosen:
            frame = structures[i].to_ase()
            frame.info["expected_nmae"] = round(errors[i], 4)
            write_frame(file, frame)
    return float(errors[chosen].min()), float(np.median(errors))
