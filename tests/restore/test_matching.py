"""Tensors to variables: exactly once, or a reason why not, with the nearest names."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.checkpoints.discovery import find
from milepost.checkpoints.reader import Reader
from milepost.core.types import Array, Extent, Table, Tensor, Variable
from milepost.errors import Mismatch, NonfiniteWeights, Unsupported
from milepost.restore.matching import Restored, restore, signature
from milepost.restore.values import weights_digest
from milepost.restore.variants import candidates

W, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3, dtype=np.float32)
VARIABLES = [Variable("fc.weight", "float32", (2, 3)), Variable("fc.bias", "float32", (3,))]


def table_of(folder: Path, groups: dict[str, dict[str, Any]], roles: dict[str, Any] | None = None) -> Table:
    """Lay arrays into one file and describe them."""
    tensors, begin, data = [], 0, b""
    for group, arrays in groups.items():
        for name, item in arrays.items():
            array = np.asarray(item)
            where = Extent(str(folder / "raw"), begin, array.nbytes)
            role = (roles or {}).get(group, "weights")
            dtype = array.dtype.name if array.dtype.byteorder != ">" else array.dtype.str
            tensors.append(Tensor(name, dtype, array.shape, where, role, group))
            data += array.tobytes() + bytes(-array.nbytes % 64)
            begin = len(data)
    (folder / "raw").write_bytes(data or b"\0")
    return Table("made", tuple(tensors))


def plain_table(folder: Path, **arrays: Any) -> Table:
    return table_of(folder, {"": {name.replace("__", "."): array for name, array in arrays.items()}})


def equal(found: Restored, expected: dict[str, Array]) -> None:
    assert found.arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


@pytest.mark.parametrize("group", ["", "state_dict", "model_state_dict", "model", "deep/er"])
def test_weights_are_found_at_top_level_or_under_a_wrapper(group: str, tmp_path: Path) -> None:
    table = table_of(
        tmp_path, {group: {"fc.weight": W, "fc.bias": B}, "optimizer": {"m": W}}, {"optimizer": "optimizer"}
    )
    found = restore(table, VARIABLES, "raw")
    equal(found, {"fc.weight": W, "fc.bias": B})
    assert found.notes["place"] == (group or "top level")


def test_what_is_missing_unexpected_or_misshapen_is_named_with_the_nearest(tmp_path: Path) -> None:
    table = plain_table(tmp_path, fc__weigth=W, fc__bias=np.zeros(4, np.float32), head=B)
    with pytest.raises(Mismatch) as caught:
        restore(table, VARIABLES, "raw")
    message = str(caught.value)
    for piece in (
        "at top level",
        "1 of 2 variables are missing: fc.weight (nearest: fc.weigth)",
        "2 tensors are unexpected: fc.weigth (nearest: fc.weight), head",
        "fc.bias has shape [4], the model wants [3]",
    ):
        assert piece in message
    assert "transposed" not in message


def test_a_transposed_matrix_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"fc.weight has shape \[3, 2\], the model wants \[2, 3\] \(transposed\?\)"):
        restore(plain_table(tmp_path, fc__weight=W.T.copy(), fc__bias=B), VARIABLES, "raw")


def test_long_lists_are_cut(tmp_path: Path) -> None:
    variables = [Variable(f"layer{number}.w", "float32", (1,)) for number in range(20)]
    with pytest.raises(Mismatch, match=r"20 of 20 variables are missing: .* and 15 more; 1 tensors are unexpected"):
        restore(plain_table(tmp_path, other=B), variables, "raw")


def test_two_sets_that_fit_are_refused_by_name(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"model": {"fc.weight": W, "fc.bias": B}, "teacher": {"fc.weight": W, "fc.bias": B}})
    with pytest.raises(Mismatch, match=r"two sets of tensors could be variant 'raw': 'model' and 'teacher'"):
        restore(table, VARIABLES, "raw")
    with pytest.raises(Mismatch, match="two sets of tensors"):
        restore(table, None, "raw")


@pytest.mark.parametrize("place", ["ema", "model_ema", "prefix/", "prefix.", "suffix"])
def test_the_averaged_variant(place: str, tmp_path: Path) -> None:
    raw, ema = {"fc.weight": W, "fc.bias": B}, {"fc.weight": W + 1, "fc.bias": B + 1}
    if place == "suffix":
        groups = {"": raw | {f"{name}/ExponentialMovingAverage": array for name, array in ema.items()}}
    elif place.startswith("prefix"):
        groups = {"": raw | {f"ema{place[-1]}{name}": array for name, array in ema.items()}}
    else:
        groups = {"state_dict": raw, place: ema}
    table = table_of(tmp_path, groups)
    equal(restore(table, VARIABLES, "raw"), raw)
    equal(restore(table, VARIABLES, "ema"), ema)
    assert len(candidates(table, "ema")) == 1
    with pytest.raises(Mismatch, match=r"no weights of variant 'swa'"):
        restore(table, VARIABLES, "swa")


def test_tied_variables_count_with_their_owner(tmp_path: Path) -> None:
    variables = [
        Variable("in.weight", "float32", (2, 3)),
        Variable("out.weight", "float32", (2, 3), tied_to="in.weight"),
    ]
    owner = restore(plain_table(tmp_path, in__weight=W), variables, "raw")
    other = restore(plain_table(tmp_path, out__weight=W), variables, "raw")
    both = restore(plain_table(tmp_path, in__weight=W, out__weight=W), variables, "raw")
    for found in (owner, other, both):
        equal(found, {"in.weight": W})
        assert found.digest == owner.digest
    with pytest.raises(Mismatch, match=r"out.weight is tied to in.weight .* two different values"):
        restore(plain_table(tmp_path, in__weight=W, out__weight=W + 1), variables, "raw")
    with pytest.raises(Mismatch, match=r"1 of 1 variables are missing: in.weight"):
        restore(plain_table(tmp_path, x=W), variables, "raw")


def test_optional_bookkeeping_may_be_absent_and_does_not_change_the_digest(tmp_path: Path) -> None:
    variables = [*VARIABLES, Variable("norm.num_batches_tracked", "int64", (), optional=True)]
    without = restore(plain_table(tmp_path, fc__weight=W, fc__bias=B), variables, "raw")
    many = [
        restore(plain_table(tmp_path, fc__weight=W, fc__bias=B, norm__num_batches_tracked=count), variables, "raw")
        for count in (np.int64(5), np.full(1, 7, np.int64))
    ]
    assert {found.digest for found in [without, *many]} == {without.digest}
    assert int(many[1].arrays["norm.num_batches_tracked"]) == 7
    assert many[1].arrays["norm.num_batches_tracked"].shape == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_weights_are_counted(value: float, tmp_path: Path) -> None:
    bad = W.copy()
    bad[0, :2] = value
    with pytest.raises(NonfiniteWeights, match=r"2 of 6 values of fc.weight are NaN or infinite"):
        restore(plain_table(tmp_path, fc__weight=bad, fc__bias=B), VARIABLES, "raw")


def test_nonfinite_bfloat16_is_seen_too(tmp_path: Path) -> None:
    bad = np.array([[1, 2, np.nan], [1, 2, 3]], np.float32).astype(ml_dtypes.bfloat16)
    with pytest.raises(NonfiniteWeights, match="1 of 6 values"):
        restore(plain_table(tmp_path, fc__weight=bad, fc__bias=B), VARIABLES, "raw")


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16", ">f4"])
def test_floats_are_cast_to_floats_and_it_is_noted(dtype: str, tmp_path: Path) -> None:
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    found = restore(plain_table(tmp_path, fc__weight=W.astype(kind), fc__bias=B), VARIABLES, "raw")
    equal(found, {"fc.weight": W, "fc.bias": B})
    cast = [] if dtype == ">f4" else [f"fc.weight: {dtype} to float32"]
    assert found.notes.get("casts", []) == cast
    assert found.digest == restore(plain_table(tmp_path, fc__weight=W, fc__bias=B), VARIABLES, "raw").digest


def test_integers_are_never_cast_to_floats(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"fc.weight is int32 in the checkpoint, the model wants float32"):
        restore(plain_table(tmp_path, fc__weight=W.astype(np.int32), fc__bias=B), VARIABLES, "raw")


def test_an_unsupported_tensor_is_fatal_only_if_it_is_needed(tmp_path: Path) -> None:
    base = table_of(tmp_path, {"": {"fc.weight": W, "fc.bias": B}})
    odd = Tensor(
        "scheduler", "void", (2,), Extent(str(tmp_path / "raw"), 0, 8, "unsupported: sparse"), "optimizer", "x"
    )
    assert restore(Table("made", (*base.tensors, odd)), VARIABLES, "raw").digest
    needed = Tensor("fc.bias", "void", (3,), Extent(str(tmp_path / "raw"), 0, 12, "unsupported: sparse"))
    with pytest.raises(Unsupported, match=r"fc\.bias"):
        restore(Table("made", (base.tensors[0], needed)), VARIABLES, "raw")


def test_without_variables_all_of_the_one_set_is_taken(tmp_path: Path) -> None:
    equal(restore(plain_table(tmp_path, b=B, a=W), None, "raw"), {"a": W, "b": B})


# ---------------------------------------------------------------------------------------------------------- identity


def test_the_digest_is_golden() -> None:
    assert weights_digest({"a": W, "b": B}) == "1b9a1b1b82b3f7f33b81f54f95562311d7c98cbb819551ea9416e1d3fdaa5fed"


@given(st.permutations(["a", "b", "c"]), st.sampled_from(["name", "dtype", "shape", "value", "swap"]))
def test_the_digest_is_of_names_dtypes_shapes_and_values(order: list[str], change: str) -> None:
    arrays = {"a": W, "b": B, "c": B + 1}
    known = weights_digest(arrays)
    assert weights_digest({name: np.asfortranarray(arrays[name]) for name in order}) == known
    assert weights_digest({name: arrays[name].astype(">f4") for name in order}) == known
    changed = {
        "name": {"z": W, "b": B, "c": B + 1},
        "dtype": arrays | {"b": B.astype(np.float64)},
        "shape": arrays | {"a": W.reshape(3, 2)},
        "value": arrays | {"a": np.nextafter(W, 9)},
        "swap": {"a": W, "b": B + 1, "c": B},
    }[change]
    assert weights_digest(changed) != known


def test_the_signature_is_of_the_variables() -> None:
    assert signature(VARIABLES) == signature(tuple(VARIABLES))
    assert signature(VARIABLES) != signature(VARIABLES[:1])
    assert signature(VARIABLES) != signature([VARIABLES[0], Variable("fc.bias", "float32", (4,))])


def test_one_content_in_three_formats_has_one_digest(tmp_path: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    arrays = {"fc.weight": W, "fc.bias": B}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    np.savez_compressed(tmp_path / "packed.npz", **arrays)  # type: ignore[arg-type]
    save_file(arrays, tmp_path / "a.safetensors")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    torch.save(tensors, tmp_path / "a.pt")
    torch.save({"model_state_dict": tensors, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "full.pt")
    (tmp_path / "spool").mkdir()
    checkpoints = [found for found in find([str(tmp_path)]) if found.format]
    digests = {
        restore(Reader().table(found, str(tmp_path / "spool")), VARIABLES, "raw").digest for found in checkpoints
    }
    assert len(checkpoints) == 5
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("module.", "module."),
        ("_orig_mod.", "_orig_mod."),
        ("model.", "model."),
        ("module._orig_mod.", "_orig_mod. module."),
        ("_orig_mod.module.", "_orig_mod. module."),
        ("model.module._orig_mod.net.", "_orig_mod. model. module. net."),
    ],
)
def test_prefixes_of_wrappers_come_off_in_any_order_and_it_is_noted(prefix: str, message: str, tmp_path: Path) -> None:
    table = table_of(tmp_path, {"state_dict": {f"{prefix}fc.weight": W, f"{prefix}fc.bias": B}})
    found = restore(table, VARIABLES, "raw")
    equal(found, {"fc.weight": W, "fc.bias": B})
    assert found.notes["names"] == f"{message} taken off the checkpoint's names"
    assert found.digest == restore(plain_table(tmp_path, fc__weight=W, fc__bias=B), VARIABLES, "raw").digest


def test_a_model_whose_own_names_are_wrapped_takes_plain_ones(tmp_path: Path) -> None:
    wrapped = [Variable(f"_orig_mod.{item.name}", item.dtype, item.shape) for item in VARIABLES]
    found = restore(plain_table(tmp_path, fc__weight=W, fc__bias=B), wrapped, "raw")
    equal(found, {"_orig_mod.fc.weight": W, "_orig_mod.fc.bias": B})
    assert found.notes["names"] == "_orig_mod. taken off the model's"


def test_a_prefix_comes_off_only_where_all_fits_then(tmp_path: Path) -> None:
    table = table_of(tmp_path, {"": {"module.fc.weight": W, "module.fc.bias": B, "module.more": B}})
    with pytest.raises(Mismatch, match=r"unexpected: more"):
        restore(table, VARIABLES, "raw")
    inner = table_of(tmp_path, {"": {"model.fc.weight": W, "model.fc.bias": B, "loss.weight": B}})
    with pytest.raises(Mismatch, match=r"loss\.weight"):
        restore(inner, VARIABLES, "raw")


def test_a_name_that_begins_like_a_prefix_is_left_alone_where_it_fits(tmp_path: Path) -> None:
    own = [Variable("model.w", "float32", (2, 3))]
    found = restore(plain_table(tmp_path, model__w=W), own, "raw")
    equal(found, {"model.w": W})
    assert "names" not in found.notes


# ---------------------------------------------------------------------------------------------------- tied, from torch


def language_model() -> Any:
    """Return a module whose decoder shares the embedding's matrix, as language models do."""
    import torch

    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(5, 3)
            self.decoder = torch.nn.Linear(3, 5, bias=False)
            self.decoder.weight = self.embedding.weight

        def forward(self, x: Any) -> Any:
            return self.decoder(self.embedding(x).mean(1))

    return Tied()


def restored_from(path: Path, spool: Path) -> Restored:
    from milepost.models.torch import TorchModel

    spool.mkdir(exist_ok=True)
    (found,) = find([str(path)])
    table = Reader().table(found, str(spool))
    return restore(table, TorchModel(language_model).variables(), "raw")


STOOD_IN = ["decoder.weight stood in for embedding.weight, to which it is tied"]


@pytest.mark.parametrize("kept", [("embedding", "decoder"), ("embedding",), ("decoder",)])
@pytest.mark.parametrize("kind", ["torch", "safetensors", "npz"])
def test_a_tied_pair_of_torch_from_either_name(kept: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    matrix = torch.arange(15.0).reshape(5, 3)
    file = tmp_path / f"a.{kind}"
    tensors = {f"{name}.weight": matrix.clone() for name in kept}
    if kind == "torch":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, file)
    elif kind == "safetensors":
        save_file(tensors, file)
    else:
        np.savez(tmp_path / "a.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})  # type: ignore[arg-type]
    found = restored_from(file, tmp_path / "spool")
    equal(found, {"embedding.weight": matrix.numpy()})
    assert found.notes.get("tied") == (STOOD_IN if kept == ("decoder",) else None)
    assert found.digest == weights_digest({"embedding.weight": matrix.numpy()})


def test_safetensors_own_way_of_saving_a_tied_pair(tmp_path: Path) -> None:
    from safetensors.torch import save_model

    module = language_model()
    save_model(module, str(tmp_path / "a.safetensors"))
    found = restored_from(tmp_path / "a.safetensors", tmp_path / "spool")
    equal(found, {"embedding.weight": module.embedding.weight.detach().numpy()})
    assert found.notes["tied"] == STOOD_IN


def test_a_tied_pair_that_was_untied_in_training_is_refused(tmp_path: Path) -> None:
    import torch

    one, two = torch.zeros(5, 3), torch.ones(5, 3)
    torch.save({"embedding.weight": one, "decoder.weight": two}, tmp_path / "a.pt")
    with pytest.raises(Mismatch, match=r"decoder\.weight is tied to embedding\.weight in the model, but .* different"):
        restored_from(tmp_path / "a.pt", tmp_path / "spool")
