"""MDL molfiles and SD files, V2000 and V3000: every record, with its formal charges and its radicals.

ASE reads elements and positions of the first record of a V2000 file, and nothing else. The layout: "CTFile Formats",
BIOVIA, 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from orbdens.errors import UserError

if TYPE_CHECKING:
    import ase

SEPARATOR = "$$$$"

CHARGES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
"""Formal charges by their codes in the atoms' lines of a V2000 record."""

RADICAL = 4
"""The code in those lines of an atom with one unpaired electron."""

UNPAIRED = (0, 0, 1, 2)
"""Unpaired electrons by what ``M  RAD`` and ``RAD=`` tell: nothing, singlet (of a carbene), doublet, triplet."""

ISOTOPES = {"D": "H", "T": "H"}
"""Symbols of isotopes that have names of their own."""


@dataclass
class _Record:
    """Atoms in their order; charges (e) and unpaired electrons by atom, where there are any."""

    symbols: list[str] = field(default_factory=list)
    positions: list[list[float]] = field(default_factory=list)
    charges: dict[int, int] = field(default_factory=dict)
    unpaired: dict[int, int] = field(default_factory=dict)

    def add(self, symbol: str, position: Sequence[str]) -> None:
        self.symbols.append(ISOTOPES.get(symbol, symbol))
        self.positions.append([float(x) for x in position])


def read_molfile(path: Path) -> list[ase.Atoms]:
    """All records; ``info`` holds their ``charge`` (e) and their ``multiplicity``, for spins of radicals in parallel.

    Raises:
        UserError: the file is not such a one, or has broken off.
    """
    from ase import Atoms
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "rb") as file:
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    frames = []
    for number, record in enumerate(_records(lines), start=1):
        try:
            found = _v3000(record) if "V3000" in record[3] else _v2000(record)
            info = {"charge": sum(found.charges.values()), "multiplicity": 1 + sum(found.unpaired.values())}
            frames.append(Atoms(found.symbols, found.positions, info=info))
        except (ValueError, IndexError, KeyError) as error:
            reason = f"there is no element {error}" if isinstance(error, KeyError) else "it is broken, or cut off"
            raise UserError(f"cannot read the molfile {path}, record {number}: {reason}") from error
    return frames


def _records(lines: Sequence[str]) -> Iterator[list[str]]:
    ends = [-1, *(i for i, line in enumerate(lines) if line.startswith(SEPARATOR)), len(lines)]
    for before, end in pairwise(ends):
        record = list(lines[before + 1 : end])
        if any(line.strip() for line in record):
            yield record


def _v2000(lines: Sequence[str]) -> _Record:
    found = _Record()
    n_atoms = int(lines[3][:3])
    for atom in range(n_atoms):
        x, y, z, symbol, *rest = lines[4 + atom].split()
        found.add(symbol, (x, y, z))
        code = int(rest[1]) if len(rest) > 1 else 0
        if code in CHARGES:
            found.charges[atom] = CHARGES[code]
        elif code == RADICAL:
            found.unpaired[atom] = 1
    first = True
    for line in lines[4 + n_atoms :]:
        if line.startswith("M  END"):
            return found
        if line.startswith(("M  CHG", "M  RAD")):
            if first:  # such lines say all that is to say, and what the atoms' lines say is void
                found.charges, found.unpaired, first = {}, {}, False
            words = [int(word) for word in line[6:].split()]
            for atom, value in zip(words[1::2], words[2::2], strict=True):
                _set(found, line[3:6], atom - 1, value)
    raise ValueError("no end")


def _v3000(lines: Sequence[str]) -> _Record:
    found, n_atoms, inside = _Record(), None, False
    for line in _joined(lines[4:]):
        words = line.split()
        if words[:1] == ["COUNTS"]:
            n_atoms = int(words[1])
        elif words[1:2] == ["ATOM"]:
            inside = words[0] == "BEGIN"
        elif inside:
            atom = len(found.symbols)
            found.add(words[1], words[2:5])
            for word in words[5:]:
                name, _, value = word.partition("=")
                if name in ("CHG", "RAD"):
                    _set(found, name, atom, int(value))
    if n_atoms != len(found.symbols):
        raise ValueError("atoms are missing")
    return found


def _joined(lines: Sequence[str]) -> Iterator[str]:
    """What stands behind ``M  V30``; a line that ends in a hyphen goes on in the next."""
    begun = ""
    for line in lines:
        if line.startswith("M  V30 "):
            begun += line[7:].rstrip()
            if begun.endswith("-"):
                begun = begun[:-1]
            else:
                yield begun
                begun = ""


def _set(found: _Record, what: str, atom: int, value: int) -> None:
    if not 0 <= atom < len(found.symbols):
        raise ValueError("no such atom")
    if what == "CHG":
        found.charges[atom] = value
    else:
        found.unpaired[atom] = UNPAIRED[value]
