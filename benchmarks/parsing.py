"""How fast `orbdens data import` reads, and what its own code buys: ``python -m benchmarks.parsing``.

Sizes are those of a molecule of QM9-VASP: 666,000 points. Times are those of the processor, which other work on the
machine changes little; waiting for the disk is not in them. Before a time is printed, numbers must be those of Python's
``float``, and what is decompressed must be what was compressed; cut data and bytes after the end must be refused.
Libraries beside our code: ``float`` of every word, and the file objects of gzip, lzma, bz2 and lz4.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np

from data_tools.sources.importing import import_source
from data_tools.sources.kinds import open_source
from data_tools.sources.statement import UserStatement
from orbdens.errors import UserError
from orbdens.formats.cube import write_cube
from orbdens.formats.streams import CHUNK, chunks
from orbdens.formats.text import Text
from orbdens.grid import Grid
from orbdens.machine import describe_machine, describe_versions
from orbdens.structure import Structure

SHAPE = (90, 88, 84)
CELL = np.diag([9.0, 8.8, 8.4])
MOLECULES = 8
"""In the archive of the whole import."""

PACKED: dict[str, tuple[Callable[[bytes], bytes], Callable[[Any], Any]]] = {
    ".gz": (gzip.compress, gzip.open),
    ".xz": (lambda data: lzma.compress(data, preset=1), lzma.open),
    ".bz2": (bz2.compress, bz2.open),
    ".lz4": (lz4.frame.compress, lz4.frame.open),
}


def chgcar_text() -> bytes:
    """The CHGCAR of a carbon atom of four electrons and some noise, augmentation occupancies included."""
    axes = [(np.arange(n) / n - 0.5) * length for n, length in zip(SHAPE, CELL.diagonal(), strict=True)]
    squares = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    values = np.exp(-np.asarray(squares)) * np.random.default_rng(0).uniform(0.9, 1.1, SHAPE)
    values *= 4 * values.size / values.sum()
    words = [f" {value:.11E}" for value in values.T.reshape(-1).tolist()]
    lines = "\n".join("".join(words[i : i + 5]) for i in range(0, len(words), 5))
    vectors = "\n".join(" {:.6f} {:.6f} {:.6f}".format(*vector) for vector in CELL)
    head = f"C\n1.0\n{vectors}\n C\n 1\nDirect\n 0.5 0.5 0.5\n\n{' '.join(map(str, SHAPE))}\n"
    return (head + lines + "\naugmentation occupancies   1  33\n" + 7 * "  0.1E+01  0.2E-03\n").encode()


def in_pieces(text: bytes) -> Text:
    """A text that comes in pieces as a file does."""
    return Text((text[i : i + CHUNK] for i in range(0, len(text), CHUNK)), "text")


def grid_of(text: bytes) -> np.ndarray[Any, Any]:
    """What the import makes of the grid of ``chgcar_text``, or of its numbers alone."""
    lines = in_pieces(text)
    if not text[:1].isspace():
        while not (lines.line() or "").startswith(str(SHAPE[0])):
            pass
    return lines.grid(SHAPE, x_fastest=True)


def by_words(text: bytes) -> np.ndarray[Any, Any]:
    """The same numbers by Python."""
    words = text.split(b"augmentation")[0].split(b"\n", 11)[-1].split()
    return np.array([float(word) for word in words], dtype=np.float32).reshape(SHAPE[::-1]).T


def pieces_of_file(opened: Any) -> Iterator[bytes]:
    while piece := opened.read(CHUNK):
        yield piece


def takes_more(data: bytes, read: Callable[[bytes], Iterator[bytes]]) -> bool:
    """Whether bytes after the end of compressed data go unnoticed."""
    try:
        for _ in read(data + b"more than that"):
            pass
    except (OSError, EOFError, lzma.LZMAError, RuntimeError, UserError):
        return False
    return True


def decompression(text: bytes) -> dict[str, dict[str, float | bool]]:
    """MB of text a second by our loop and by the library's file object, and whether each takes bytes after the end."""
    figures: dict[str, dict[str, float | bool]] = {}
    for ending, (pack, opening) in PACKED.items():
        data = pack(text)

        def loop(data: bytes, ending: str = ending) -> Iterator[bytes]:
            return chunks(io.BytesIO(data).read, "data", f"a{ending}")

        def library(data: bytes, opening: Callable[[Any], Any] = opening) -> Iterator[bytes]:
            return pieces_of_file(opening(io.BytesIO(data)))

        if b"".join(loop(data)) != text or b"".join(library(data)) != text:
            sys.exit(f"{ending}: other bytes come out than went in; no times are printed")
        if takes_more(data, loop):
            sys.exit(f"{ending}: bytes after the end go unnoticed; no times are printed")
        with suppress(UserError):
            sys.exit(f"{ending}: cut data gives {sum(map(len, loop(data[:-50])))} bytes; no times are printed")
        figures[ending] = {
            "ours_mb_per_s": megabytes_per_s(len(text), lambda: sum(map(len, loop(data)))),  # noqa: B023
            "library_mb_per_s": megabytes_per_s(len(text), lambda: sum(map(len, library(data)))),  # noqa: B023
            "library_takes_bytes_after_the_end": takes_more(data, library),
        }
    return figures


def numbers(text: bytes) -> dict[str, float]:
    """MB of text a second, from bytes to a grid."""
    expected = by_words(text)
    words = [f"{value:+.11E}" for value in expected.T.reshape(-1).tolist()]
    touching = b" " + "\n".join("".join(words[i : i + 5]) for i in range(0, len(words), 5)).encode()
    if not np.array_equal(grid_of(text), expected) or not np.allclose(grid_of(touching), expected, rtol=1e-7):
        sys.exit("numbers are not those that float gives; no times are printed")
    return {
        "grid_mb_per_s": megabytes_per_s(len(text), lambda: grid_of(text)),
        "touching_mb_per_s": megabytes_per_s(len(touching), lambda: grid_of(touching)),
        "float_of_words_mb_per_s": megabytes_per_s(len(text), lambda: by_words(text)),
    }


def imports(text: bytes, folder: Path) -> dict[str, float]:
    """The whole way into a store: MB of text a second of one file, and seconds a molecule of an archive."""
    (folder / "a.CHGCAR").write_bytes(text)
    grid = Grid(np.zeros(3), CELL / np.array(SHAPE)[:, None], SHAPE)
    volume = float(np.linalg.det(CELL))
    write_cube(folder / "a.cube", Structure(np.array([6]), CELL.diagonal()[None] / 2), grid, grid_of(text) / volume)
    packed = lz4.frame.compress(text)
    with tarfile.open(folder / "a.tar", "w") as archive:
        for i in range(MOLECULES):
            member = tarfile.TarInfo(f"{i:06d}.CHGCAR.lz4")
            member.size = len(packed)
            archive.addfile(member, io.BytesIO(packed))
    seconds = {}
    for name in ("a.CHGCAR", "a.cube", "a.tar"):

        def run(name: str = name) -> None:
            import_source(open_source([folder / name], UserStatement()), folder / "store", overwrite=True)

        seconds[name] = median_seconds(run)
    cube = (folder / "a.cube").stat().st_size
    return {
        "chgcar_mb_per_s": len(text) / 1e6 / seconds["a.CHGCAR"],
        "cube_mb_per_s": cube / 1e6 / seconds["a.cube"],
        "qm9_vasp_s_per_molecule": seconds["a.tar"] / MOLECULES,
    }


def megabytes_per_s(size: int, run: Callable[[], object]) -> float:
    return size / 1e6 / median_seconds(run)


def median_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    run()
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    text = chgcar_text()
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, Any] = {
            "text_mb": len(text) / 1e6,
            "numbers": numbers(text),
            "decompression": decompression(text),
            "imports": imports(text, Path(folder)),
        }
    for name, value in [("text_mb", figures["text_mb"]), *figures["numbers"].items(), *figures["imports"].items()]:
        print(f"{name:28} {value:.4g}")
    for ending, row in figures["decompression"].items():
        after = "takes" if row["library_takes_bytes_after_the_end"] else "refuses"
        print(
            f"{ending:6} ours {row['ours_mb_per_s']:6.0f} MB/s   library {row['library_mb_per_s']:6.0f} MB/s, {after} "
            "bytes after the end"
        )
    if arguments.json:
        versions = describe_versions("numpy", "lz4")
        tree = {"machine": describe_machine(1), "versions": versions, **figures}
        arguments.json.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
