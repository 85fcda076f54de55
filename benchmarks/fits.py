"""What label fits cost before a run's first step: ``python -m benchmarks.fits --config CONFIG --store STORE``.

Seconds of one core, a record, and for the whole training split: they are made once and cached beside the store.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pyscf.lib
import torch

from orbdens import shipped
from orbdens.config import find_config, load_config
from orbdens.labels import stored_density
from orbdens.models.density_fitting import fit_label
from orbdens.models.orbital.options import OrbitalRun
from orbdens.models.orbital.task import basis_of
from orbdens.sampling import evenly_spaced
from orbdens.store import open_store
from orbdens.training.batches import splits_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=shipped.config_path("lithium-oxide.yaml"))
    parser.add_argument("--store", help="folder of a store [default: the config's]")
    parser.add_argument("--n", type=int, default=30, help="records, evenly spaced")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pyscf.lib.num_threads(1)
    config = load_config(find_config(arguments.config), [f"data.store={arguments.store}"] if arguments.store else [])
    if not isinstance(config, OrbitalRun):
        parser.error(f"{arguments.config} is of a model without label fits")
    store = open_store(config.data.store)
    keys, _ = splits_of(store, config.data)
    labels = [stored_density(store, key) for key in evenly_spaced(keys, arguments.n)]
    basis = basis_of([label.structure for label in labels], config)
    fit_label(labels[0], basis, config.model.sites)  # imports and compiles
    begun = time.process_time()
    for label in labels:
        fit_label(label, basis, config.model.sites)
    each = (time.process_time() - begun) / len(labels)
    print(f"{each:.3f} core-seconds a record, {each * len(keys) / 60:.1f} core-minutes for all {len(keys)}")


if __name__ == "__main__":
    main()
