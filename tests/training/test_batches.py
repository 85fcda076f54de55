"""The order of training examples."""

from __future__ import annotations

from orbdens.training.batches import AHEAD, EndlessBatches


def test_batches_depend_on_seed_and_step_alone() -> None:
    keys = [f"k{i}" for i in range(7)]
    whole = EndlessBatches(keys, 3, seed=5, start=0, stage_at=lambda step: step // 2)
    later = EndlessBatches(keys, 3, seed=5, start=4, stage_at=lambda step: step // 2)
    first = [batch for batch, _ in zip(whole, range(9), strict=False)]
    assert first[4:] == [batch for batch, _ in zip(later, range(5), strict=False)]
    drawn = [key for batch in first[:7] for key, _, _ in batch]
    assert sorted(drawn) == sorted(keys * 3)


def test_batches_are_known_before_they_come() -> None:
    told: list[list[str]] = []
    batches = iter(
        EndlessBatches(
            [f"k{i}" for i in range(7)], 3, 5, 2, lambda step: 0, expect=lambda stage, keys: told.append(keys)
        )
    )
    first = [[draw.key for draw in next(batches)] for _ in range(1)]
    assert len(told) == AHEAD + 1
    first += [[draw.key for draw in next(batches)] for _ in range(AHEAD)]
    assert told[: AHEAD + 1] == first
