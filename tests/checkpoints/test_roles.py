"""Roles by name, as a table, and the arithmetic of views against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.checkpoints._files.layout import contiguous, is_contiguous, overlaps, span
from milepost.checkpoints._files.roles import role_of


@pytest.mark.parametrize(
    ("group", "name", "role"),
    [
        ("", "conv1.weight", "weights"),
        ("", "params/dense/kernel", "weights"),
        ("", "opt.weight", "weights"),
        ("", "optimizer/mu/dense", "optimizer"),
        ("", "opt/mu", "optimizer"),
        ("", "opt_state/0/mu", "optimizer"),
        ("", "optimizer.state.0", "optimizer"),
        ("", "global_step", "bookkeeping"),
        ("", "step", "bookkeeping"),
        ("", "epoch", "bookkeeping"),
        ("", "rng/key", "bookkeeping"),
        ("", "step_embedding", "weights"),
        ("model_state_dict", "step", "weights"),
        ("state_dict", "optimizer_head.weight", "weights"),
        ("model", "scaler", "weights"),
        ("ema", "w", "weights"),
        ("optimizer_states/0/state/0", "exp_avg", "optimizer"),
        ("optimizer_state_dict/state/0", "step", "optimizer"),
        ("optimizer_G/state/0", "exp_avg", "optimizer"),
        ("optimizerD/state/0", "exp_avg", "optimizer"),
        ("g_optimizer/state/0", "exp_avg", "optimizer"),
        ("optim/state", "m", "optimizer"),
        ("optimal_model", "w", "weights"),
        ("lr_schedulers/0", "base", "bookkeeping"),
        ("scheduler_state_dict", "x", "bookkeeping"),
        ("cuda_rng_state", "0", "bookkeeping"),
        ("callbacks/ema", "w", "bookkeeping"),
        ("scaler_state_dict", "scale", "bookkeeping"),
    ],
)
def test_table(group: str, name: str, role: str) -> None:
    assert role_of(group, name) == role


SIZES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=3)


@given(SIZES)
@settings(max_examples=200, deadline=None)
def test_views_agree_with_brute_force(axes: list[tuple[int, int]]) -> None:
    shape, strides = tuple(size for size, _ in axes), tuple(stride for _, stride in axes)
    places = [sum(i * stride for i, stride in zip(index, strides, strict=True)) for index in np.ndindex(*shape)]
    assert span(shape, strides) == (max(places) + 1 if places else 0)
    moving = [(size, stride) for size, stride in axes if stride > 0]
    distinct = [
        sum(i * stride for i, (_, stride) in zip(index, moving, strict=True))
        for index in itertools.product(*(range(size) for size, _ in moving))
    ]
    if len(set(distinct)) < len(distinct):
        assert overlaps(shape, strides)  # never misses one; it may refuse some odd view that does not overlap
    if 0 not in shape:
        assert is_contiguous(shape, strides) == (places == list(range(len(places))))


def test_c_order_never_overlaps() -> None:
    for shape in ((), (3,), (2, 1, 4), (1, 1)):
        assert not overlaps(shape, contiguous(shape, 1))
