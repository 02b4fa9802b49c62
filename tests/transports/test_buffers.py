"""Receive memory: never handed out while anybody looks at it, handed out again when nobody does."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness_plugins.transports.buffers import GRAIN_BYTES, POOL_BYTES, POOL_COUNT, Arena, BufferPool


def test_a_buffer_comes_back_only_without_views() -> None:
    pool = BufferPool()
    first = pool.take(1000)
    array = np.frombuffer(first[8:16], np.uint8)
    owner = first.obj
    del first
    assert pool.take(1000).obj is not owner, "an array still looks at it"
    del array
    assert pool.take(1000).obj is not owner, "somebody still holds the bytearray itself"
    number = id(owner)
    del owner
    assert id(pool.take(1000).obj) == number


def test_sizes_are_kept_apart_and_views_are_exact() -> None:
    pool = BufferPool()
    small, large = pool.take(GRAIN_BYTES), pool.take(GRAIN_BYTES + 1)
    assert (len(small), len(large)) == (GRAIN_BYTES, GRAIN_BYTES + 1)
    assert len(small.obj) == GRAIN_BYTES
    assert len(large.obj) == 2 * GRAIN_BYTES
    assert np.frombuffer(large, np.uint8).ctypes.data % 8 == 0


def test_what_a_pool_remembers_is_bounded() -> None:
    pool = BufferPool()
    views = [pool.take(GRAIN_BYTES) for _ in range(3 * POOL_COUNT)]
    assert len(pool._held) <= POOL_COUNT
    views += [pool.take(POOL_BYTES // 3) for _ in range(5)]
    assert sum(map(len, pool._held)) <= POOL_BYTES
    assert len(pool.take(2 * POOL_BYTES)) == 2 * POOL_BYTES
    assert sum(map(len, pool._held)) <= POOL_BYTES


@given(st.lists(st.tuples(st.sampled_from([1, 5000, 40_000, 70_000]), st.integers(0, 9)), max_size=60))
def test_no_two_live_views_share_memory(script: list[tuple[int, int]]) -> None:
    pool, live = BufferPool(), dict[int, memoryview]()
    for size, slot in script:
        live.pop(slot, None)
        live[slot] = pool.take(size)[size // 2 :]
        owners = [id(view.obj) for view in live.values()]
        assert len(set(owners)) == len(owners)


def test_an_arena_moves_on_when_it_is_full() -> None:
    arena = Arena(BufferPool(), 4 * GRAIN_BYTES, GRAIN_BYTES)
    old = arena.view[:8]
    old[:] = b"old data"
    arena.used = 3 * GRAIN_BYTES + 5
    view, start, end = arena.move(memoryview(b"tail"))
    assert (start, end) == (0, 4), "there was no room behind"
    assert bytes(view[start:end]) == b"tail"
    assert view.obj is not old.obj
    assert bytes(old) == b"old data"
    arena.used = 21
    assert arena.move(memoryview(b"more"))[1:] == (24, 28), "8-aligned behind the last frame"
