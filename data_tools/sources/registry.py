"""The kinds of sources that ``orbdens data import`` reads: one line each."""

from __future__ import annotations

from enum import StrEnum


class SourceKind(StrEnum):
    """Name of each kind on the command line, and its module; where several kinds fit some files, the first is taken.

    The module has ``ENDINGS``, what the names of its files end with (in lower case, without the ending of a
    compression); ``recognises(beginning)``, whether a file of another name is of this kind by its first bytes; and
    ``open_source(paths, statement)``, which gives a ``RecordSource`` (``record_source.py``).
    """

    POINTS = "points", "data_tools.sources.points"
    NPZ = "npz", "data_tools.sources.npz"
    ORBITALS = "orbitals", "data_tools.sources.orbital_files"
    CHGCAR = "chgcar", "data_tools.sources.chgcar"
    CUBE = "cube", "data_tools.sources.cube"
    MD = "md", "data_tools.sources.md_sets"
    RESIDUAL_CNN = "residual-cnn", "data_tools.sources.residual_cnn"
    CRYSTAL_JSON = "crystal-json", "data_tools.sources.crystal_json"

    module: str

    def __new__(cls, name: str, module: str) -> SourceKind:
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.module = module
        return kind
