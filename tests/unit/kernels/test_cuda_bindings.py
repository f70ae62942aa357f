"""The CUDA head's module where it is built: it loads without a driver and says what is missing."""

from __future__ import annotations

import numpy as np
import pytest

_cuda = pytest.importorskip("coder_engine._cuda", reason="the CUDA head is not built here", exc_type=ImportError)


def make(**changes: object) -> None:
    arrays: dict[str, object] = {
        "bank": np.ones((2, 4), np.float32),
        "name_offsets": np.array([0, 1], np.int32),
        "name_weight": np.ones(1, np.float32),
        "pair_rows": None,
        "pair_starts": None,
        "pair_others": None,
    }
    _cuda.Weights(**{**arrays, **changes})


def test_devices_are_counted_without_an_error() -> None:
    assert _cuda.available() >= 0


def test_without_a_device_the_driver_is_named() -> None:
    if _cuda.available():
        pytest.skip("there is a device here")
    with pytest.raises(RuntimeError, match=r"starting CUDA failed: .*; it needs an NVIDIA GPU and its driver"):
        make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bank": np.full((2, 4), np.nan, np.float32)}, r"bank must be finite, row 0"),
        ({"name_offsets": np.array([0], np.int32)}, r"name_offsets must be \[C \+ 1\] = \[2\], got \[1\]"),
        ({"pair_others": np.zeros(0, np.int32)}, r"pair_starts and pair_others must be given both"),
        ({"pair_rows": np.zeros((1, 4), np.float16)}, r"dense pair_rows must have C \(C - 1\) / 2 = 0 rows, got 1"),
        ({"pairs": "disk"}, r"pairs must be 'auto', 'device' or 'host', got 'disk'"),
    ],
)
def test_weights_are_checked_before_the_device_is_looked_for(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_head_needs_weights() -> None:
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        _cuda.Head(None, max_batch=1)


def test_exact_dtypes_and_no_strides() -> None:
    for bank in (np.ones((2, 4)), np.ones((2, 8), np.float32)[:, ::2]):
        with pytest.raises(TypeError, match="incompatible constructor arguments"):
            make(bank=bank)
