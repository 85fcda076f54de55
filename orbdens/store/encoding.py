"""Records as safetensors bytes, with a checksum of all they hold."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from orbdens.files import is_pickle
from orbdens.store.records import CoefficientRecord, GridRecord, OrbitalRecord, PointsRecord, Record
from orbdens.structure import Structure

STRUCTURE = ("numbers", "positions", "cell")
"""Names of the tensors of a structure."""

EXPECTED = "expected."
"""How names of tensors begin that tell errors to expect."""

DTYPES: dict[str, type[np.generic]] = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
}


def encode_tensors(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Safetensors bytes with a checksum of names, contents and metadata in the metadata; the same each time."""
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    data = safetensors.numpy.save(arrays, metadata={**metadata, "crc32": _checksum(arrays, metadata)})
    # the library writes metadata in arbitrary order
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
    if is_pickle(data) and data[-1:] == b".":
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
    elif isinstance(record, PointsRecord):
        metadata["kind"] = "points"
        tensors["points"] = np.asarray(record.points, dtype=np.float64)
        tensors["weights"] = np.asarray(record.weights, dtype=np.float64)
        tensors["values"] = np.asarray(record.values, dtype=np.float32)
    elif isinstance(record, CoefficientRecord):
        metadata["kind"] = "coefficients"
        metadata["warnings"] = json.dumps(record.warnings)
        tensors["site_positions"] = np.asarray(record.site_positions, dtype=np.float64)
        tensors["site_types"] = np.asarray(record.site_types, dtype=np.int32)
        tensors["coefficients"] = np.asarray(record.coefficients, dtype=np.float32)
        tensors |= {f"{EXPECTED}{name}": np.asarray(array) for name, array in record.expected.items()}
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
        structure = _structure(tensors, metadata)
        energy = float(tensors["energy"]) if "energy" in tensors else None
        dipole = tensors.get("dipole")
        if metadata["kind"] == "orbital":
            orbitals, occupations = tensors["orbitals"], tensors["occupations"]
            return OrbitalRecord(structure, orbitals, occupations, energy, dipole, tensors.get("spins"))
        if metadata["kind"] == "points":
            return PointsRecord(structure, tensors["points"], tensors["weights"], tensors["values"], energy, dipole)
        if metadata["kind"] == "coefficients":
            return CoefficientRecord(
                structure,
                tensors["site_positions"],
                tensors["site_types"],
                tensors["coefficients"],
                {name.removeprefix(EXPECTED): a for name, a in tensors.items() if name.startswith(EXPECTED)},
                tuple(json.loads(metadata["warnings"])),
            )
        if metadata["kind"] != "grid":
            raise ValueError(f"it is of a kind '{metadata['kind']}' that this orbdens does not know")
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


def decode_structure(data: bytes) -> Structure:
    """The structure of a record alone: other tensors are not looked at, and the checksum of all is not computed.

    Raises:
        ValueError: with the reason, if these are not the bytes of a record.
    """
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        tensors: dict[str, NDArray[Any]] = {}
        for name in header.keys() & STRUCTURE:
            first, last = header[name]["data_offsets"]
            values = np.frombuffer(data[start + first : start + last], DTYPES[header[name]["dtype"]])
            tensors[name] = values.reshape(header[name]["shape"]).copy()
        return _structure(tensors, header["__metadata__"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is not a safetensors record ({error})") from None


def _structure(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> Structure:
    pbc = metadata.get("pbc", "FFF")
    return Structure(
        numbers=tensors["numbers"],
        positions=tensors["positions"],
        cell=tensors.get("cell"),
        pbc=(pbc[0] == "T", pbc[1] == "T", pbc[2] == "T"),
        charge=int(metadata["charge"]),
        multiplicity=int(metadata["multiplicity"]),
    )


def _checksum(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    crc = zlib.crc32(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(arrays):
        crc = zlib.crc32(arrays[name].reshape(-1).view(np.uint8), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"
