"""Files of other programs: a reader and a writer for each format. Foreign units end here.

To add a format that densities are written in: a module here with a function that ``Writer.write`` can call, and a line
in ``WRITERS``. ``orbdens predict`` and ``orbdens data convert`` both have it then. One that is read where densities are
looked at or lend their grid: also its name in ``READERS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbdens.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orbdens.grid import Grid, Values
    from orbdens.structure import Structure


@dataclass(frozen=True)
class Writer:
    """A format that densities on grids are written in.

    Attributes:
        suffix: ending of the names that its files get.
        place: ``module:function`` that writes a file, imported when it is first needed.
        endings: how names end that a user may give such files, in lower case.
        about: whose format it is, and its units, for help texts.
        repeats: its grids fill a box that repeats: the last point of an axis is one step before the edge of the box.
        holds_spin: it has room for a spin density beside the density.
        holds_facts: it has room for facts about the density, by name.
        axis: of a grid, along which its slabs are written one after the other.
        bytes_per_point: of its files; None where they are compressed, so that nobody knows.
    """

    suffix: str
    place: str
    endings: tuple[str, ...]
    about: str
    repeats: bool = False
    holds_spin: bool = False
    holds_facts: bool = False
    axis: int = 0
    bytes_per_point: float | None = None

    def names(self, path: Path) -> bool:
        """Whether the name of a file says that it is of this format."""
        return path.name.lower().endswith(self.endings)

    def suit(self, grid: Grid, structure: Structure) -> Grid:
        """The grid on which this format holds a density, of one made around a structure."""
        return grid.without_end_points(structure.pbc) if self.repeats else grid

    def write(
        self,
        path: Path,
        structure: Structure,
        grid: Grid,
        values: Values,
        spin_values: Values | None = None,
        facts: Mapping[str, str | float] | None = None,
    ) -> None:
        """Write a density, whole or not at all.

        Args:
            path: replaced if it exists.
            structure: its atoms, in Å.
            grid: where the values are.
            values: e/Å³, of the grid's shape, or its slabs along ``axis``, which are written as they come.
            spin_values: density of up minus density of down electrons, likewise; left out where there is no room.
            facts: of the density, e.g. ``n_electrons``; likewise.

        Raises:
            UserError: the file cannot be written, or the format cannot hold this grid.
        """
        module, function = self.place.split(":")
        more: dict[str, Any] = {"spin_values": spin_values} if self.holds_spin else {}
        more |= {"facts": facts} if self.holds_facts else {}
        getattr(import_module(module), function)(path, structure, grid, values, **more)


WRITERS: Mapping[str, Writer] = {
    "cube": Writer(
        ".cube",
        "orbdens.formats.cube:write_cube",
        (".cube", ".cub"),
        "Gaussian's; Bohr, e/Bohr³",
        bytes_per_point=13.2,
    ),
    "hdf5": Writer(
        ".h5",
        "orbdens.formats.hdf5:write_hdf5",
        (".h5", ".hdf5"),
        "in chunks, compressed, for grids of any size; Å, e/Å³",
        holds_spin=True,
        holds_facts=True,
    ),
    "chgcar": Writer(
        ".CHGCAR",
        "orbdens.formats.chgcar:write_chgcar",
        ("chgcar",),
        "VASP's; Å, density times volume; VASP itself cannot start from it, for want of augmentation occupancies",
        repeats=True,
        holds_spin=True,
        axis=2,
        bytes_per_point=18.2,
    ),
    "npz": Writer(".npz", "orbdens.formats.npz:write_density", (".npz",), "numpy's; Å, e/Å³", holds_spin=True),
}
"""Formats by the names that users give."""

CHOICES = "|".join(WRITERS)
FORMATS_HELP = "; ".join(f"{name} ({writer.about})" for name, writer in WRITERS.items())


def find_writer(name: str) -> Writer:
    """The format of a name.

    Raises:
        UserError: there is none.
    """
    if name not in WRITERS:
        raise UserError(f"densities are written as {', '.join(WRITERS)}, but not as '{name}'")
    return WRITERS[name]


READERS = ("cube", "hdf5")
"""Those of ``WRITERS`` that are read where densities are looked at or lend their grid.

Each is a module here, with functions ``read_NAME`` and ``read_NAME_head``.
"""

DENSITY_ENDINGS = tuple(ending for name in READERS for ending in WRITERS[name].endings)


def read_density(path: Path) -> tuple[Structure, Grid, NDArray[np.floating]]:
    """The structure, the grid and the density in e/Å³ of a cube or HDF5 file, told apart by their names.

    Raises:
        UserError: no such file, or not what its name says.
    """
    structure, grid, values = _reader(path, "")(path)
    return structure, grid, values


def read_head(path: Path) -> tuple[Structure, Grid]:
    """As ``read_density``, without reading the values."""
    structure, grid = _reader(path, "_head")(path)
    return structure, grid


def _reader(path: Path, what: str) -> Any:
    """A function that reads a file; one of an unknown name is taken for a cube file."""
    name = next((name for name in READERS if WRITERS[name].names(path)), "cube")
    return getattr(import_module(f"orbdens.formats.{name}"), f"read_{name}{what}")
