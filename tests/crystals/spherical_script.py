"""cctbx's own form factors of the spherical atoms of a crystal, as JSON: argv is a CIF and a JSON list of h, k, l."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from orbdens.crystals.by_cctbx import cctbx_structure
from orbdens.formats.cif import read_cif

if __name__ == "__main__":
    structure = cctbx_structure(read_cif(Path(sys.argv[1]))[0])
    registry = structure.scattering_type_registry()
    squares = [structure.unit_cell().d_star_sq(tuple(h)) for h in json.loads(Path(sys.argv[2]).read_text())]
    found = [
        [registry.gaussian_not_optional(scatterer.scattering_type).at_d_star_sq(square) for square in squares]
        for scatterer in structure.scatterers()
    ]
    print(json.dumps(found))  # noqa: T201
