"""Packed records come out as they went in, are small, and never come out changed."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from places import GOLDEN

from orbdens.store import GridRecord, OrbitalRecord, Store
from orbdens.store.encoding import decode_structure, decode_tensors, encode_record, encode_tensors
from orbdens.store.packing import DICTIONARY, TAG, pack, unpack

TENSORS = st.dictionaries(
    st.sampled_from(["values", "orbitals", "numbers", "positions"]),
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.uint8, np.int8, np.int64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7),
    ),
)


@settings(max_examples=60, deadline=None)
@given(TENSORS)
def test_any_tensors(tensors: dict[str, np.ndarray]) -> None:
    value = encode_tensors(tensors, {"kind": "any"})
    packed = pack(value)
    assert len(packed) <= len(value)
    assert unpack(packed) == value
    for name, array in decode_tensors(unpack(packed))[0].items():
        assert array.dtype == tensors[name].dtype
        assert array.tobytes() == tensors[name].tobytes()


def test_orbitals_are_smaller_than_raw() -> None:
    store = Store(GOLDEN / "ethanol")
    for key in store.keys():  # noqa: SIM118
        record = store[key]
        assert isinstance(record, OrbitalRecord)
        packed = pack(encode_record(record))
        assert packed[:1] == TAG
        assert len(packed) < 0.99 * (record.orbitals.nbytes + 4 * record.structure.positions.size)


@pytest.mark.parametrize(("dtype", "share"), [(np.float32, 0.8), (np.float16, 0.5)])
def test_smooth_grids_shrink(dtype: type[np.floating], share: float) -> None:
    axis = np.linspace(-3, 3, 40)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    values = np.exp(-(x**2) - 2 * y**2 - z**2).astype(dtype)
    structure = Store(GOLDEN / "grid")["h2"].structure
    value = encode_record(GridRecord(structure, np.zeros(3), 0.1 * np.eye(3), values))
    assert len(pack(value)) < share * values.nbytes
    assert unpack(pack(value)) == value


def test_plain_bytes_stay() -> None:
    value = encode_tensors({"a": np.random.default_rng(0).integers(0, 255, 3000).astype(np.uint8)}, {})
    assert len(pack(value)) < len(value)  # the header shrinks
    assert unpack(value) == value
    assert unpack(b"") == b""


def test_the_same_bytes_every_time() -> None:
    tensors = {"b": np.arange(3.0), "a": np.arange(4)}
    metadata = {name: name for name in "zyxwvu"}
    assert len({encode_tensors(tensors, metadata) for _ in range(20)}) == 1


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans())
def test_damage_never_passes(place: int, change: int, cut: bool) -> None:
    store = Store(GOLDEN / "ethanol")
    value = encode_record(store[store.keys()[0]])
    packed = bytearray(pack(value))
    place %= len(packed)
    packed[place] ^= change
    damaged = bytes(packed[:place] if cut else packed)
    try:
        tensors, metadata = decode_tensors(unpack(damaged))
    except ValueError:
        return
    # a flag of the format itself may differ, what it holds may not
    expected = decode_tensors(value)
    assert metadata == expected[1]
    for name, array in tensors.items():
        assert array.tobytes() == expected[0][name].tobytes()


def test_zeros_come_back() -> None:
    value = encode_tensors({"values": np.zeros((200, 200, 200), dtype=np.float32)}, {})
    assert len(pack(value)) < 3000
    assert unpack(pack(value)) == value


def claiming(size: int, n_bytes: int) -> bytes:
    """Packed bytes, so many, that claim to hold ``size`` bytes."""
    noise = np.random.default_rng(0).integers(0, 255, n_bytes - 20, dtype=np.uint8).tobytes()
    frame = bytearray(zstandard.ZstdCompressor(write_content_size=True).compress(noise + bytes(70_000)))
    assert frame[4] & 0xC0 == 0x80  # the size is in four bytes
    frame[5:9] = size.to_bytes(4, "little")
    return TAG + bytes(frame)


@pytest.mark.parametrize(("size", "n_bytes"), [(549_000_000, 17_000), (2_000_000_000, 1_000_000)])
def test_few_bytes_hold_few(size: int, n_bytes: int) -> None:
    """Where a record is claimed to be larger than any of its size on disk, the memory is not asked for."""
    packed = claiming(size, n_bytes)
    assert abs(len(packed) - n_bytes) < 1000
    with pytest.raises(ValueError, match=rf"damaged \(it claims to hold {size} bytes"):
        unpack(packed)


def test_what_may_not_be_unpacked_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    value = encode_tensors({"values": np.zeros(1 << 20, dtype=np.uint8)}, {})
    assert len(pack(value)) < 1000
    monkeypatch.setattr("orbdens.store.packing.ALWAYS_ALLOWED", 1 << 20)
    assert pack(value) == value
    assert unpack(pack(value)) == value


def test_bombs_do_not_go_off() -> None:
    with pytest.raises(ValueError, match=r"damaged \(it claims to hold 4294967295 bytes"):
        unpack(claiming(0xFFFFFFFF, 100))


def test_only_some_tensors() -> None:
    tensors = {name: np.random.default_rng(ord(name)).normal(size=(40, 3)).astype(np.float32) for name in "abc"}
    value = encode_tensors(tensors, {})
    some = unpack(pack(value), only="b")
    assert pack(value)[:1] == TAG
    assert len(some) == len(value)
    assert tensors["b"].tobytes() in some
    assert tensors["a"].tobytes() not in some


def test_deep_headers_are_one_sentence() -> None:
    header = b"[" * 100_000
    value = len(header).to_bytes(8, "little") + header
    frame = zstandard.ZstdCompressor(dict_data=DICTIONARY, write_dict_id=False).compress(value)
    with pytest.raises(ValueError, match="packed bytes are damaged"):
        unpack(TAG + frame)
    with pytest.raises(ValueError, match="not a safetensors record"):
        decode_structure(value)
