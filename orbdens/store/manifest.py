"""What a store says about itself."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orbdens.electrons import electrons_of
from orbdens.errors import UserError
from orbdens.files import written_whole
from orbdens.store.records import LabelBasis, SiteOrbitals
from orbdens.structure import Structure

FORMAT_VERSION, WITH_ALL_KINDS = 2, 3
"""Versions that are written: 3 where there are records at points or of coefficients, which readers of 2 do not know."""

READABLE = (1, 2, 3)
UNITS = {
    "length": "angstrom",
    "density": "e/angstrom^3",
    "exponent": "angstrom^-2",
    "energy": "hartree",
    "dipole": "e*angstrom",
}
DENSITIES = ("valence", "all-electron")


@dataclass(frozen=True)
class Manifest:
    """What a store says about itself; ``manifest.json``.

    Attributes:
        level: level of theory (method, xc, basis, pseudo, code and its version, ...).
        density: ``valence`` or ``all-electron``.
        valence_electrons: electrons that a neutral atom brings into the density, by symbol.
        label_basis: basis of the orbital records; None in a store of grids.
        provenance: where the records come from (command, source file and its hash, seed, ...).
        splits: named lists of keys.
        count: number of records when the store was finished.
        shards: number of LMDB files that the records are spread over.
        finished: False while a writer is at work or after it was killed.
        format_version: version of the files: 1, 2 or 3, see ``WITH_ALL_KINDS``.
        site_orbitals: orbitals of the coefficient records; None in a store without any.
    """

    level: Mapping[str, Any]
    density: str
    valence_electrons: Mapping[str, int]
    label_basis: LabelBasis | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    count: int = 0
    shards: int = 1
    finished: bool = False
    format_version: int = FORMAT_VERSION
    site_orbitals: SiteOrbitals | None = None

    @property
    def written_version(self) -> int:
        """The format version of a store that is written with this manifest."""
        return WITH_ALL_KINDS if self.site_orbitals is not None else max(FORMAT_VERSION, self.format_version)

    def source(self) -> dict[str, Any]:
        """What targets computed from the records depend on beside their keys: caches of such targets carry it."""
        return {"level": dict(self.level), "provenance": dict(self.provenance)}

    def n_electrons(self, structure: Structure) -> int:
        """Number of electrons in the density of a structure, its charge taken into account."""
        return electrons_of(structure, self.valence_electrons)

    @property
    def orbital_basis(self) -> LabelBasis:
        """The label basis; UserError in a store of grids, which has none."""
        if self.label_basis is None:
            raise UserError("this store has no label basis: its records are grids")
        return self.label_basis

    def to_json(self) -> dict[str, Any]:
        """The tree of ``manifest.json``."""
        tree = {"format": "orbdens store", "format_version": self.format_version, "units": UNITS, **asdict(self)}
        tree["label_basis"] = self.label_basis.to_json() if self.label_basis else None
        del tree["site_orbitals"]
        if self.site_orbitals is not None:
            tree["site_orbitals"] = self.site_orbitals.to_json()
        return tree

    @classmethod
    def read(cls, store: Path) -> Manifest:
        """The manifest of a store.

        Raises:
            UserError: there is no store of a format version known here at ``store``.
        """
        path = store / "manifest.json"
        if not store.exists():
            raise UserError(f"{store} does not exist (expected a store: a folder with manifest.json and data.mdb)")
        if not store.is_dir():
            raise UserError(f"{store} is a file, not a store (a folder with manifest.json and data.mdb)")
        if not path.is_file():
            foreign = " (an LMDB that orbdens did not write)" if (store / "data.mdb").exists() else ""
            raise UserError(f"{store} is not a store: it has no manifest.json{foreign}")
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            if tree["format_version"] not in READABLE:
                known = f"{READABLE[0]} to {READABLE[-1]}"
                raise UserError(f"{path} has format version {tree['format_version']}; this orbdens reads {known}")
            if tree["density"] not in DENSITIES:
                raise ValueError(f"density is {tree['density']!r}, expected one of {', '.join(DENSITIES)}")
            return cls(
                level=tree["level"],
                density=tree["density"],
                valence_electrons=tree["valence_electrons"],
                label_basis=LabelBasis.from_json(tree["label_basis"]) if tree["label_basis"] else None,
                site_orbitals=SiteOrbitals.from_json(tree["site_orbitals"]) if "site_orbitals" in tree else None,
                provenance=tree["provenance"],
                splits=tree["splits"],
                count=int(tree["count"]),
                shards=int(tree["shards"]),
                finished=bool(tree["finished"]),
                format_version=int(tree["format_version"]),
            )
        except KeyError as error:
            raise UserError(f"{path} is not the manifest of a store: it has no {error}") from None
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path} is not the manifest of a store: {error}") from None

    def write(self, store: Path) -> None:
        """Write ``manifest.json`` so that at any moment there is a whole one, the old or the new.

        Raises:
            UserError: it cannot be written.
        """
        with written_whole(store / "manifest.json") as temporary, temporary.open("w", encoding="utf-8") as file:
            json.dump(self.to_json(), file, indent=1)
            file.write("\n")

    def folders(self, store: Path) -> list[Path]:
        """The LMDB folders of a store."""
        return [store] if self.shards == 1 else [store / f"shard-{i:03d}" for i in range(self.shards)]

    def shard_of(self, key: str) -> int:
        """Which shard holds a key."""
        return zlib.crc32(key.encode()) % self.shards
