"""Train a small model of Li-O-Li on 45 of the densities that ship, for 100 steps, and measure it on 25 it never saw."""

from pathlib import Path

import orbdens
from orbdens import shipped

OPTIONS = [
    "data.n_train=50",  # five of them are held out to validate
    "data.n_validation=5",
    "model.basis.beta=2.0",
    "model.channels=16",
    "training.minutes=null",
    "training.steps=100",
]
RUN = Path("runs/example")


def main() -> None:
    config = orbdens.load_config(shipped.config_path("lithium-oxide.yaml"), OPTIONS)
    orbdens.train(config, RUN, force=True)
    errors = orbdens.evaluate(RUN, "lithium-oxide", "test", n=25).summary()
    print(f"wrote {RUN / 'model.safetensors'}")
    print(f"NMAE {errors['nmae'].mean:.2f} % in the mean, {errors['nmae'].max:.2f} % at most")
    print(f"dipole off by {errors['dipole'].mean:.3f} Debye, electrons by {errors['electrons'].max:.0e}")


if __name__ == "__main__":
    main()
