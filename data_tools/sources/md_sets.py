"""MD sets of small molecules in Fourier coefficients, in two layouts that ``data_tools/README.md`` tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from data_tools.sources.files import Files, folders_like, single
from data_tools.sources.record_source import Item, RecordSource
from data_tools.sources.small_texts import xyz_frame
from data_tools.sources.statement import UserStatement, source_name
from orbdens.errors import UserError
from orbdens.formats.npz import read_npy
from orbdens.formats.text import Text, opened_text, quoted
from orbdens.store.records import GridRecord
from orbdens.structure import Structure
from orbdens.units import BOHR

MOLECULES = {
    "benzene": "CCCCCCHHHHHH",
    "ethane": "CCHHHHHH",
    "ethanol": "CCOHHHHHH",
    "malonaldehyde": "OCCCOHHHH",
    "phenol": "CCCCCCOHHHHHH",
    "resorcinol": "CCCCCCOHOHHHHH",
}
"""Atoms of the sets, which the arrays of layout A do not name."""

BOX = 20.0
"""Bohr; edge of the cubic box."""

N_AXIS = 50
"""Points along each of its edges."""

SHORTEST_BOND = 1.3
"""Atoms nearer than this have coordinates in Å, others in Bohr: no bond is as short in Bohr, none to H as long in Å."""


LAYOUTS = (("structures.npy", "dft_densities.npy"), ("structures.xyz", "densities.txt"))
"""Files of a folder: arrays (A) or texts (B)."""

ENDINGS = tuple(densities for _, densities in LAYOUTS)


def recognises(beginning: bytes) -> bool:
    """Never: these sets are folders."""
    return False


def open_source(paths: Sequence[Path], statement: UserStatement) -> RecordSource:
    """The frames of the folders of MD sets among and below some folders.

    Raises:
        UserError: there are none, or of the first of them no files that fit together.
    """
    folders = folders_like(paths, is_md_folder)
    if not folders:
        raise UserError(
            f"{source_name(paths)} holds no folder with structures.npy and dft_densities.npy, "
            "nor with structures.xyz and densities.txt"
        )
    counts = [md_count(folder) for folder in folders]
    files = Files([folder / name for folder in folders for name in chain(*LAYOUTS) if (folder / name).exists()], "", ())
    level = {"code": "Quantum ESPRESSO", "xc": "PBE", "potential": "PAW"}
    items = chain.from_iterable(md_items(folder, statement.elements, statement.charge) for folder in folders)
    return RecordSource(
        source_name(paths),
        statement.manifest({"kind": "MD set", **files.facts()}, level),
        items,
        count=sum(n or 0 for n in counts) if None not in counts else None,
        digest=files.digest,
        splits=statement.named_splits(),
        dtype=statement.dtype,
    )


def is_md_folder(path: Path) -> bool:
    """Whether a folder holds frames of an MD set."""
    return any(all((path / name).is_file() for name in names) for names in LAYOUTS)


def molecule_and_split(folder: Path) -> tuple[str, str]:
    """What a folder is named after: ``ethanol_train`` in layout A, ``ethane_300K-test`` in layout B."""
    name = folder.resolve().name
    split = "test" if name.endswith(("_test", "-test")) else "train"
    return name.split("_")[0].split("-")[0].lower(), split


def md_items(folder: Path, elements: Sequence[str], charge: int) -> Iterator[Item]:
    """The frames of a folder, in order.

    Args:
        folder: folder of either layout.
        elements: elements of the atoms; empty for those that the folder's name or its files tell.
        charge: charge of the molecule.

    Raises:
        UserError: the files do not fit together, or the atoms are not known.
    """
    molecule, split = molecule_and_split(folder)
    if not all((folder / name).is_file() for name in LAYOUTS[0]):
        yield from _items_of_texts(folder, f"{molecule}-{split}", charge)
        return
    symbols = elements or MOLECULES.get(molecule, "")
    if not symbols:
        known = ", ".join(MOLECULES)
        raise UserError(f"the atoms of {folder} are not known, as it is none of {known}; --elements C2,O,H6 names them")
    yield from _items_of_arrays(folder, f"{molecule}-{split}", symbols, charge)


def md_count(folder: Path) -> int | None:
    """Number of frames, where it can be told at once."""
    arrays = all((folder / name).is_file() for name in LAYOUTS[0])
    return len(read_npy(folder / "structures.npy")) if arrays else None


def _items_of_arrays(folder: Path, stem: str, symbols: Sequence[str], charge: int) -> Iterator[Item]:
    positions = read_npy(folder / "structures.npy")
    densities = read_npy(folder / "dft_densities.npy")
    for name, array, shape in (
        ("structures.npy", positions, (len(positions), len(symbols), 3)),
        ("dft_densities.npy", densities, (len(positions), N_AXIS**3)),
    ):
        if array.shape != shape:
            raise UserError(f"{folder / name} has shape {array.shape}, expected {shape} for {''.join(symbols)}")
    numbers = [atomic_numbers[symbol] for symbol in symbols]

    def read(i: int, place: str) -> GridRecord:
        if not (np.isfinite(densities[i]).all() and np.isfinite(positions[i]).all()):
            raise UserError(f"{place} holds numbers that are not finite")
        return md_record(numbers, np.array(positions[i]), np.array(densities[i]), place, charge)

    for i in range(len(positions)):
        place = f"frame {i} of {folder}"
        yield Item(f"{stem}-{i:05d}", place, partial(read, i, place), stem.rpartition("-")[2])


def _items_of_texts(folder: Path, stem: str, charge: int) -> Iterator[Item]:
    with opened_text(folder / "structures.xyz") as atoms, opened_text(folder / "densities.txt") as densities:
        i = 0
        while (frame := xyz_frame(atoms)) is not None:
            place = f"frame {i} of {folder}"
            reading = _Line(densities, frame, place, charge)
            yield Item(f"{stem}-{i:05d}", place, reading.read, stem.rpartition("-")[2])
            if not reading.done:
                densities.skip_line()
            i += 1
        while (line := densities.line()) is not None:
            if line.strip():
                raise densities.wrong(f"expected no more lines than the {i} frames of structures.xyz")


class _Line:
    """A frame whose coefficients are the next line of a text."""

    def __init__(self, text: Text, frame: tuple[list[int], NDArray[np.float64]], place: str, charge: int) -> None:
        self._text, self._frame, self._place, self._charge = text, frame, place, charge
        self.done = False

    def read(self) -> GridRecord:
        coefficients = self._text.grid((N_AXIS, N_AXIS, N_AXIS), dtype=np.float64)
        self.done = True
        if rest := self._text.rest_of_line():
            raise self._text.wrong(f"expected {N_AXIS**3} numbers on the line, but found {quoted(rest)} after them")
        return md_record(*self._frame, coefficients, self._place, self._charge)


def md_record(
    numbers: Sequence[int],
    positions: NDArray[np.floating],
    coefficients: NDArray[np.floating],
    place: str,
    charge: int = 0,
) -> GridRecord:
    """The density of a frame.

    Args:
        numbers: atomic numbers [n_atoms].
        positions: Bohr, or Å where the nearest atoms show it [n_atoms, 3].
        coefficients: [125000].
        place: names it in messages.
        charge: charge of the molecule.
    """
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1)[np.triu_indices(len(positions), 1)]
    unit = BOHR if distances.min(initial=np.inf) > SHORTEST_BOND else 1.0
    structure = Structure(np.array(numbers), positions.astype(np.float64) * unit, charge=charge).check(place)
    step = BOX * BOHR / N_AXIS
    values = single(decoded(coefficients) / BOHR**3, place)
    return GridRecord(structure, np.full(3, step), step * np.eye(3), values)


def decoded(coefficients: NDArray[np.floating]) -> NDArray[np.float64]:
    """A density in e/Bohr³ [50, 50, 50] from its real-packed Fourier coefficients [125000]."""
    half = N_AXIS // 2
    d = np.asarray(coefficients, dtype=np.complex128).reshape(N_AXIS, N_AXIS, N_AXIS)
    for axis in range(3):
        packed = np.moveaxis(d, axis, 0)
        low = (packed[:half] - 1j * packed[half:]) / 2
        # the highest frequency stands where the first imaginary part would
        high = np.conj(np.concatenate([low[1:], packed[half : half + 1]])[::-1])
        d = np.moveaxis(np.fft.ifft(np.concatenate([low, high]), axis=0), 0, axis)
    return np.ascontiguousarray(d.real.reshape(-1)[::-1].reshape(d.shape))
