"""Evaluations made of Gaussians, for tests of what is done with evaluations."""

import numpy as np

from orbdens.evaluation import Cost, Errors, Evaluation, MeasuredOn, ModelFacts, Slice
from orbdens.metrics import REGIONS

ATOMS = (("O", 0.0, 0.35, 0.0), ("Li", -1.6, -0.45, 0.0), ("Li", 1.6, -0.45, 0.0))


def _density(x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
    total = np.zeros_like(x)
    for (_, at_x, at_y, _), size in zip(ATOMS, (2.0, 0.15, 0.15), strict=True):
        total = total + size * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / width**2)
    return total


def evaluation(name: str, size: float, width: float = 0.7, fingerprint: str = "0123456789abcdef") -> Evaluation:
    """Errors around ``size`` % on 125 structures; a slice of Gaussians a little too wide and wavy."""
    chance = np.random.default_rng(len(name))
    errors = size * np.exp(0.35 * chance.standard_normal(125))
    step, corner = 0.08, (-3.6, -2.45)
    x, y = np.meshgrid(corner[0] + step * np.arange(91), corner[1] + step * np.arange(61), indexing="ij")
    reference = _density(x, y, width)
    predicted = reference * (1 + 0.01 * size * np.sin(7 * x) * np.cos(6 * y)) + 2e-4 * size * np.cos(9 * x + 5 * y)
    shares = dict(zip(REGIONS, (0.2, 0.6, 0.2), strict=True))
    return Evaluation(
        model=ModelFacts(name=name, kind="orbital", n_parameters=123456, training_minutes=1.75),
        measured_on=MeasuredOn(store="lithium_oxide", split="test", fingerprint=fingerprint, spacing=0.2, margin=4.0),
        errors=Errors(
            keys=[f"Li2O-{i:03d}" for i in range(125)],
            nmae=errors.tolist(),
            electrons=(1e-3 * size * chance.standard_normal(125)).tolist(),
            dipole=(0.05 * errors).tolist(),
            regions={region: (share * errors).tolist() for region, share in shares.items()},
        ),
        slice=Slice(
            key="Li2O-000",
            formula="Li2O",
            step=step,
            corner=list(corner),
            atoms=list(ATOMS),
            reference=reference.round(5).tolist(),
            predicted=predicted.round(5).tolist(),
        ),
        cost=Cost(structures_per_s=20.0, peak_memory_mb=800.0, peak_gpu_memory_mb=None),
        machine={"cpu": "a processor", "cores": 2, "threads": 2},
        versions={"orbdens": "0", "torch": "0"},
    )
