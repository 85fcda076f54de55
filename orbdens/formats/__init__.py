"""Files of other programs: a reader and a writer for each format. Foreign units end here.

To add a format that densities are written in: a module here with a function that ``Writer.write`` can call, and a line
in ``WRITERS``. ``orbdens predict`` and ``orbdens data convert`` both have it then.
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

    from orbdens.grid import Grid
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
    """

    suffix: str
    place: str
    endings: tuple[str, ...]
    about: str
    repeats: bool = False
    holds_spin: bool = False

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
        values: NDArray[np.floating],
        spin_values: NDArray[np.floating] | None = None,
    ) -> None:
        """Write a density, whole or not at all.

        Args:
            path: replaced if it exists.
            structure: its atoms, in Å.
            grid: where the values are.
            values: e/Å³, of the grid's shape.
            spin_values: density of up minus density of down electrons, e/Å³; left out where the format has no room.

        Raises:
            UserError: the file cannot be written, or the format cannot hold this grid.
        """
        module, function = self.place.split(":")
        spin: dict[str, Any] = {"spin_values": spin_values} if self.holds_spin else {}
        getattr(import_module(module), function)(path, structure, grid, values, **spin)


WRITERS: Mapping[str, Writer] = {
    "cube": Writer(".cube", "orbdens.formats.cube:write_cube", (".cube", ".cub"), "Gaussian's; Bohr, e/Bohr³"),
    "chgcar": Writer(
        ".CHGCAR",
        "orbdens.formats.chgcar:write_chgcar",
        ("chgcar",),
        "VASP's; Å, density times volume; VASP itself cannot start from it, for want of augmentation occupancies",
        repeats=True,
        holds_spin=True,
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
