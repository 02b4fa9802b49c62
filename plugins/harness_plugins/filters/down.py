"""Downstream filters: what each node does to a message on its way to the back-ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.api.filters import Array

_FLOATS = {"<f4": ("<u4", 23), "<f8": ("<u8", 52)}


def _numbers(kind: str, payload: bytes, dtype: str) -> Array:
    size = np.dtype(dtype).itemsize
    if len(payload) % size:
        raise ValueError(f"{kind}: a message of {len(payload)} bytes is no whole number of {dtype} values of {size} bytes")
    return np.frombuffer(payload, dtype)


@dataclass(frozen=True)
class NullDown:
    """Messages pass as they are."""

    def apply(self, payload: bytes) -> bytes:
        """The payload itself."""
        return payload


@dataclass(frozen=True)
class Clamp:
    """Limits every number of a message to low..high. dtype: "<f8" or "<i8", the little-endian numbers that a message
    consists of. NaN stays NaN. Integers are limited to the whole numbers between low and high."""

    low: float = -math.inf
    high: float = math.inf
    dtype: str = "<f8"

    def __post_init__(self) -> None:
        if self.dtype not in ("<f8", "<i8"):
            raise ValueError(f'clamp: dtype = "{self.dtype}" must be "<f8" or "<i8"')
        low, high = self._bounds()
        if not low <= high:
            raise ValueError(f"clamp: nothing lies between low = {self.low} and high = {self.high}; swap or widen them")

    def _bounds(self) -> tuple[float, float]:
        if self.dtype == "<f8":
            return self.low, self.high
        if math.isnan(self.low) or math.isnan(self.high):
            return self.low, self.high
        least, most = -(1 << 63), (1 << 63) - 1
        low = least if self.low <= least else most + 1 if self.low > most else math.ceil(self.low)
        high = most if self.high >= most else least - 1 if self.high < least else math.floor(self.high)
        return low, high

    def apply(self, payload: bytes) -> bytes:
        """The message with every number limited. Raises ValueError where its length fits no such numbers."""
        low, high = self._bounds()
        return np.clip(_numbers("clamp", payload, self.dtype), low, high).astype(self.dtype).tobytes()


@dataclass(frozen=True)
class Quantize:
    """Rounds every float of a message to `bits` bits of mantissa, as if it had travelled in a smaller format.

    To nearest, ties to even; 23 is float32, 10 float16, 7 bfloat16 (their ranges are not imitated). dtype: "<f8" or "<f4". The
    size of the message stays.
    """

    bits: int = 7
    dtype: str = "<f8"

    def __post_init__(self) -> None:
        if self.dtype not in _FLOATS:
            raise ValueError(f'quantize: dtype = "{self.dtype}" must be one of {", ".join(_FLOATS)}')
        most = _FLOATS[self.dtype][1]
        if not 1 <= self.bits <= most:
            raise ValueError(f"quantize: bits = {self.bits} must be between 1 and the {most} of {self.dtype}")

    def apply(self, payload: bytes) -> bytes:
        """The rounded message; infinities and NaN stay. Raises ValueError where its length fits no such floats."""
        values = _numbers("quantize", payload, self.dtype)
        word, mantissa = _FLOATS[self.dtype]
        drop = mantissa - self.bits
        if not drop:
            return payload
        one = np.dtype(word).type(1)
        bits = values.view(word)
        # Just under half a unit, and one more where the last kept bit is odd: a carry runs on into the exponent, as it should.
        bits = bits + ((one << (drop - 1)) - one + ((bits >> drop) & one))
        bits = (bits >> drop) << drop
        return np.where(np.isfinite(values), bits.view(self.dtype), values).tobytes()
