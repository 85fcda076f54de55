"""Tables of atomic form factors, ``.tsc``: what Olex2 and cctbx read for refinement beyond spherical atoms.

After F. Kleemiss and others, Chem. Sci. 12, 1675 (2021): a title, the atoms, and a line for every reflection.
``SYMM: expanded`` says that all equivalents of a reflection stand in the table, each with the form factors of the
atoms where the CIF has them; ``AD: FALSE``, that anomalous dispersion is not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orbdens.files import written_whole


def write_tsc(
    path: Path,
    labels: Sequence[str],
    indices: NDArray[np.int64],
    form_factors: NDArray[np.complex128],
    title: str = "orbdens",
) -> None:
    """Write form factors.

    Args:
        path: file to write.
        labels: of the atoms, without blanks.
        indices: h, k, l of the reflections, all equivalents included [n_reflections, 3].
        form_factors: ∫ρ exp(2πi h·r) dr about each atom's nucleus, e [n_atoms, n_reflections].
        title: first line.

    Raises:
        UserError: the file cannot be written.
    """
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"TITLE: {title}\nSYMM: expanded\nAD: FALSE\nSCATTERERS: {' '.join(labels)}\nDATA:\n")
        for (h, k, l), row in zip(indices.tolist(), form_factors.T.tolist(), strict=True):
            file.write(f"{h} {k} {l} {' '.join(f'{f.real:.6f},{f.imag:.6f}' for f in row)}\n")
