"""The garbage collector is kept still for a block, and no longer."""

import gc

import pytest

from helpers import garbage


def test_no_garbage_is_collected_in_the_block():
    begun = []
    gc.callbacks.append(lambda phase, info: begun.append(phase))
    try:
        with garbage.left_for_later():
            kept = [[] for _ in range(100_000)]
            assert not begun
        kept += [[] for _ in range(100_000)]
        assert begun
    finally:
        gc.callbacks.pop()


def test_the_collector_goes_on_after_an_error():
    with pytest.raises(ZeroDivisionError), garbage.left_for_later():
        1 / 0  # noqa: B018
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with garbage.left_for_later():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
