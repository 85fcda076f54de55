"""What a store holds: records of physics, and the basis their orbitals are written in."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from orbdens.errors import UserError
from orbdens.structure import Structure

if TYPE_CHECKING:
    from orbdens.kernels import Shells

DTYPES: dict[str, type[np.generic]] = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
}


@dataclass(frozen=True)
class LabelShell:
    """A contracted shell: 2l + 1 functions S_lm(r) · Σ_p weights[p] · exp(−exponents[p] r²), in Å^(−3/2).

    S_lm = r^l Y_lm are orthonormal real solid harmonics in the order m = −l..l; r and all else in Å. The weights
    hold every normalisation factor.
    """

    l: int
    exponents: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class LabelBasis:
    """The orbitals (AOs) in which a store's occupied orbitals are written: the shells of each element by symbol.

    The AOs of a structure are its atoms in order, the shells of the atom's element in order, m = −l..l.
    """

    elements: Mapping[str, tuple[LabelShell, ...]]

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Elements by atomic number; an element's place here is its type in ``shells``."""
        from ase.data import atomic_numbers

        return tuple(sorted(self.elements, key=lambda symbol: int(atomic_numbers[symbol])))

    @cached_property
    def type_of_element(self) -> dict[int, int]:
        """Type (row of ``shells``) of an atomic number."""
        from ase.data import atomic_numbers

        return {int(atomic_numbers[symbol]): i for i, symbol in enumerate(self.symbols)}

    def types(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Types [n_atoms] of atomic numbers [n_atoms].

        Raises:
            UserError: an element has no shells here.
        """
        try:
            return np.array([self.type_of_element[int(z)] for z in numbers], dtype=np.int64)
        except KeyError as missing:
            from ase.data import chemical_symbols

            symbol = chemical_symbols[missing.args[0]]
            raise UserError(f"the label basis has no {symbol}, only {', '.join(self.symbols)}") from None

    @cached_property
    def _n_ao_of_type(self) -> NDArray[np.int64]:
        return np.array([sum(2 * shell.l + 1 for shell in self.elements[symbol]) for symbol in self.symbols])

    def n_ao(self, numbers: NDArray[np.int64]) -> int:
        """Number of AOs of a structure with these atomic numbers [n_atoms]."""
        return int(self._n_ao_of_type[self.types(numbers)].sum()) if len(numbers) else 0

    def shells(self) -> Shells:
        """The shells of all types (see ``symbols``) as the kernels take them, float64, exponents in Å⁻²."""
        return self._shells

    @cached_property
    def _shells(self) -> Shells:
        import torch

        from orbdens.kernels import Shells

        flat = [shell for symbol in self.symbols for shell in self.elements[symbol]]
        shells_of_type = [len(self.elements[symbol]) for symbol in self.symbols]
        return Shells(
            shell_ptr=torch.tensor(np.cumsum([0, *shells_of_type])),
            shell_l=torch.tensor([shell.l for shell in flat], dtype=torch.int64),
            primitive_ptr=torch.tensor(np.cumsum([0, *(len(shell.exponents) for shell in flat)])),
            exponents=torch.tensor([a for shell in flat for a in shell.exponents], dtype=torch.float64),
            weights=torch.tensor([w for shell in flat for w in shell.weights], dtype=torch.float64),
        )

    def to_json(self) -> dict[str, Any]:
        """Element symbol -> list of {l, exponents, weights}."""
        return {
            symbol: [{"l": s.l, "exponents": [*s.exponents], "weights": [*s.weights]} for s in self.elements[symbol]]
            for symbol in self.symbols
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> LabelBasis:
        """The inverse of ``to_json``; raises KeyError, TypeError or ValueError when the tree has another form."""
        return cls(
            {
                symbol: tuple(
                    LabelShell(
                        int(s["l"]), tuple(float(a) for a in s["exponents"]), tuple(float(w) for w in s["weights"])
                    )
                    for s in shells
                )
                for symbol, shells in tree.items()
            }
        )


@dataclass(frozen=True, eq=False)
class OrbitalRecord:
    """A density as occupied orbitals: ρ(r) = Σ_i occupations[i] · (Σ_μ orbitals[μ, i] · AO_μ(r))².

    Attributes:
        structure: atoms, charge, multiplicity.
        orbitals: float32 [n_ao, n_occupied], rows in the order of the store's label basis.
        occupations: electrons per orbital, float32 [n_occupied].
        energy: Hartree.
        dipole: of the whole molecule, nuclei (or cores) included, e·Å [3].
        spins: of an unrestricted calculation, +1 for an orbital of spin up and -1 for one of spin down, int8
            [n_occupied]; with them as factors the sum above is the spin density. None: both spins share each orbital.
    """

    structure: Structure
    orbitals: NDArray[np.float32]
    occupations: NDArray[np.float32]
    energy: float | None = None
    dipole: NDArray[np.float64] | None = None
    spins: NDArray[np.int8] | None = None


@dataclass(frozen=True, eq=False)
class GridRecord:
    """A density on a regular grid.

    Attributes:
        structure: atoms, cell, charge, multiplicity.
        origin: of the first point, Å [3].
        steps: step vectors as rows, Å [3, 3].
        values: e/Å³ [nx, ny, nz], float32 or float16.
        spin_values: density of up minus density of down electrons, e/Å³ [nx, ny, nz].
        energy: Hartree.
        dipole: e·Å [3].
    """

    structure: Structure
    origin: NDArray[np.float64]
    steps: NDArray[np.float64]
    values: NDArray[np.float32] | NDArray[np.float16]
    spin_values: NDArray[np.float32] | NDArray[np.float16] | None = None
    energy: float | None = None
    dipole: NDArray[np.float64] | None = None


Record = OrbitalRecord | GridRecord


def encode_tensors(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Safetensors bytes with a checksum of names, contents and metadata in the metadata; the same each time."""
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    data = safetensors.numpy.save(arrays, metadata={**metadata, "crc32": _checksum(arrays, metadata)})
    # the library writes metadata in an order of chance
    start = 8 + int.from_bytes(data[:8], "little")
    tree = json.loads(data[8:start])
    header = json.dumps({"__metadata__": dict(sorted(tree.pop("__metadata__").items())), **tree}, separators=(",", ":"))
    text = header.encode() + b" " * (-len(header.encode()) % 8)
    return len(text).to_bytes(8, "little") + text + data[start:]


def decode_tensors(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The tensors (writable copies) and metadata of ``encode_tensors``.

    Raises:
        ValueError: with the reason, if these are not such bytes or if they were damaged.
    """
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and data[-1:] == b".":
        raise ValueError("it is a Python pickle, and pickles are never opened")
    try:
        # bytearrays, so that the arrays below are writable without another copy
        tensors = {
            name: np.frombuffer(entry["data"], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in safetensors.deserialize(data)  # type: ignore[no-untyped-call]
        }
        header = data[8 : 8 + int.from_bytes(data[:8], "little")]
        metadata: dict[str, str] = json.loads(header)["__metadata__"]
        expected = metadata.pop("crc32")
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"it is not a safetensors record ({error})") from None
    if _checksum(tensors, metadata) != expected:
        raise ValueError("its checksum does not match its contents")
    return tensors, metadata


def encode_record(record: Record) -> bytes:
    """A record as safetensors bytes."""
    structure = record.structure
    metadata = {"charge": str(structure.charge), "multiplicity": str(structure.multiplicity)}
    tensors: dict[str, NDArray[Any]] = {"numbers": structure.numbers.astype(np.uint8)}
    # float32 input (npz files, many trajectories) is kept at half the size, without loss
    short = structure.positions.astype(np.float32)
    tensors["positions"] = short if np.array_equal(short, structure.positions) else structure.positions
    if structure.cell is not None:
        tensors["cell"] = np.asarray(structure.cell, dtype=np.float64)
        metadata["pbc"] = "".join("T" if p else "F" for p in structure.pbc)
    if record.energy is not None:
        tensors["energy"] = np.array(record.energy, dtype=np.float64)
    if record.dipole is not None:
        tensors["dipole"] = np.asarray(record.dipole, dtype=np.float64)
    if isinstance(record, OrbitalRecord):
        metadata["kind"] = "orbital"
        tensors["orbitals"] = np.asarray(record.orbitals, dtype=np.float32)
        tensors["occupations"] = np.asarray(record.occupations, dtype=np.float32)
        if record.spins is not None:
            tensors["spins"] = np.asarray(record.spins, dtype=np.int8)
    else:
        metadata["kind"] = "grid"
        tensors["origin"] = np.asarray(record.origin, dtype=np.float64)
        tensors["steps"] = np.asarray(record.steps, dtype=np.float64)
        tensors["values"] = record.values
        if record.spin_values is not None:
            tensors["spin_values"] = record.spin_values
    return encode_tensors(tensors, metadata)


def decode_record(data: bytes) -> Record:
    """The inverse of ``encode_record``.

    Raises:
        ValueError: with the reason, if these are not the bytes of a record.
    """
    tensors, metadata = decode_tensors(data)
    try:
        pbc = metadata.get("pbc", "FFF")
        structure = Structure(
            numbers=tensors["numbers"],
            positions=tensors["positions"],
            cell=tensors.get("cell"),
            pbc=(pbc[0] == "T", pbc[1] == "T", pbc[2] == "T"),
            charge=int(metadata["charge"]),
            multiplicity=int(metadata["multiplicity"]),
        )
        energy = float(tensors["energy"]) if "energy" in tensors else None
        dipole = tensors.get("dipole")
        if metadata["kind"] == "orbital":
            orbitals, occupations = tensors["orbitals"], tensors["occupations"]
            return OrbitalRecord(structure, orbitals, occupations, energy, dipole, tensors.get("spins"))
        return GridRecord(
            structure,
            tensors["origin"],
            tensors["steps"],
            tensors["values"],
            tensors.get("spin_values"),
            energy,
            dipole,
        )
    except KeyError as error:
        raise ValueError(f"it has no {error}") from None


def _checksum(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    crc = zlib.crc32(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].reshape(-1).view(np.uint8), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"
