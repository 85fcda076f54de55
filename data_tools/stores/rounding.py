"""Grid values in float16, and what that costs: measured record by record, kept through kills, summed up at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from orbdens.errors import UserError
from orbdens.store import GridRecord, Record

JOURNAL = "rounding.jsonl"
"""In the folder of an unfinished store: a line for each record that was rounded."""

ENTRY = "float16"
"""In the provenance of a finished one: the sum of these."""


class Rounding:
    """Rounds the records of one import.

    Args:
        store: folder of the store.
    """

    def __init__(self, store: Path) -> None:
        self._journal = store / JOURNAL
        self._before: Mapping[str, Any] = {}
        self._line = ""

    def forget(self) -> None:
        """Delete what an earlier import has noted."""
        self._journal.unlink(missing_ok=True)

    def take_up(self, provenance: Mapping[str, Any], count: int) -> None:
        """Go on with a store of so many records; notes that its provenance sums up already are deleted."""
        self._before = provenance.get(ENTRY, {})
        if self._before.get("records") == count:
            self.forget()

    def round(self, key: str, record: Record, place: str) -> Record:
        """A grid record in float16; others as they are.

        Raises:
            UserError: a value is too large.
        """
        self._line = ""
        if not isinstance(record, GridRecord):
            return record
        with np.errstate(over="ignore"):
            values = record.values.astype(np.float16)
            spin = None if record.spin_values is None else record.spin_values.astype(np.float16)
        if not np.isfinite(values).all() or (spin is not None and not np.isfinite(spin).all()):
            raise UserError(f"{place} holds values that float16 cannot; its largest number is 65504")
        errors = np.abs(record.values - values.astype(np.float32))
        total = float(errors.sum(dtype=np.float64))
        note = {
            "key": key,
            "points": values.size,
            "largest": float(errors.max()),
            "total": total,
            "share": 100 * total / max(float(np.abs(record.values).sum(dtype=np.float64)), 1e-300),
        }
        self._line = json.dumps(note) + "\n"
        return replace(record, values=values, spin_values=spin)

    def write(self) -> None:
        """Note the error of the record rounded last; to be called before the store gets the record."""
        if self._line:
            with self._journal.open("a", encoding="utf-8") as file:
                file.write(self._line)
            self._line = ""

    def provenance(self) -> dict[str, Any]:
        """The errors of all records: largest and mean in e/Å³, and the mean NMAE in %; empty if none was rounded."""
        notes: dict[str, Any] = {}
        if self._journal.exists():
            for line in self._journal.read_text(encoding="utf-8").splitlines():
                try:
                    note = json.loads(line)
                    notes[note["key"]] = note
                except (ValueError, KeyError):  # a kill cut it off, before its record was written
                    continue
        if not notes:
            return {ENTRY: dict(self._before)} if self._before else {}
        old = {"records": 0, "points": 0, "largest_error": 0.0, "mean_error": 0.0, "mean_nmae_percent": 0.0}
        old |= self._before
        records = old["records"] + len(notes)
        points = old["points"] + sum(note["points"] for note in notes.values())
        total = math.fsum([old["mean_error"] * old["points"], *(note["total"] for note in notes.values())])
        share = math.fsum([old["mean_nmae_percent"] * old["records"], *(note["share"] for note in notes.values())])
        return {
            ENTRY: {
                "records": records,
                "points": points,
                "largest_error": max(old["largest_error"], *(note["largest"] for note in notes.values())),
                "mean_error": total / points,
                "mean_nmae_percent": share / records,
            }
        }
