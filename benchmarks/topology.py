"""Critical points of predictions beside those of a store's reference densities: ``python -m benchmarks.topology``."""

from __future__ import annotations

import argparse

import numpy as np

import orbdens
from orbdens.labels import stored_density
from orbdens.observables.critical_points import KINDS, Topology, critical_points
from orbdens.sampling import evenly_spaced


def paired(mine: Topology, reference: Topology) -> list[tuple[float, float, float]]:
    """For every critical point of a reference that is no maximum: how far the nearest of its kind is, Å, and how much
    density (%) and Laplacian (e/Å⁵) differ there."""
    rows = []
    for point in reference.points:
        others = mine.of_kind(point.kind)
        if point.kind == "nuclear" or not others:
            continue
        nearest = min(others, key=lambda other: float(np.linalg.norm(other.position - point.position)))
        apart = float(np.linalg.norm(nearest.position - point.position))
        rows.append((apart, 100 * abs(nearest.density / point.density - 1), abs(nearest.laplacian - point.laplacian)))
    return rows


def main() -> None:
    """Print counts that agree, and medians, 95th percentiles and maxima of the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", help="store of orbital records")
    parser.add_argument("--split", default="test", help="its named split")
    parser.add_argument("--model", default=None, help="model [default: the one that ships]")
    parser.add_argument("--n", type=int, default=20, help="records, evenly spaced")
    arguments = parser.parse_args()
    store, model = orbdens.Store(arguments.store), orbdens.load(arguments.model)
    agree, ruled, rows, n = 0, 0, [], 0
    for key in evenly_spaced(store.keys(arguments.split), arguments.n):
        density = stored_density(store, key)
        reference, mine = critical_points(density), critical_points(model.predict(density.structure))
        agree += mine.counts == reference.counts
        ruled += (mine.poincare_hopf == 1) + (reference.poincare_hopf == 1)
        rows += paired(mine, reference)
        n += 1
        if mine.counts != reference.counts:
            print(f"{key} {density.structure.formula}: {mine.counts}, the reference {reference.counts}", flush=True)
    print(
        f"{n} structures; the same counts of {', '.join(KINDS)} in {agree}; Poincaré-Hopf holds in {ruled} of {2 * n}"
    )
    for name, values in zip(("place [Å]", "density [%]", "Laplacian [e/Å⁵]"), np.array(rows).T, strict=True):
        middle, most = np.percentile(values, [50, 95])
        print(f"{name}: median {middle:.4f}, 95th percentile {most:.4f}, largest {values.max():.4f}")


if __name__ == "__main__":
    main()
