"""Whole checkpoints of every format, small ones: made by the formats' own writers, and real ones where they are."""

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.torch import save as safe
from tests.checkpoints import _tf_writer as tf
from tests.checkpoints import hdf5_files
from tests.checkpoints.test_others import WHOLE
from tests.sixty.pieces import npy, npz, saved

from milepost.core.types import Array

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "checkpoints"
_MOST = 3_000_000
"""Bytes of a real checkpoint's largest file."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """A checkpoint: its files by name below a folder.  `form` is what the table of outcomes lists it under."""

    form: str
    name: str
    files: Mapping[str, bytes] = field(repr=False)


@cache
def every() -> tuple[Specimen, ...]:
    """Return all specimens, in one order."""
    return (*_numpy(), *_torch(), *_safetensors(), *_keras(), *_tensorflow(), *_pickles(), *_others(), *_real())


def arrays(seed: int) -> dict[str, Array]:
    """Return the weights of a small model, a half-precision one and a step among them."""
    draw = np.random.default_rng(seed)
    return {
        "fc1.weight": draw.normal(size=(12, 8)).astype(np.float32),
        "fc1.bias": draw.normal(size=12).astype(np.float32),
        "fc2.weight": draw.normal(size=(5, 12)).astype(np.float16),
        "fc2.bias": draw.normal(size=5),
        "global_step": np.asarray(100 + seed, np.int64),
    }


def tensors(seed: int) -> dict[str, torch.Tensor]:
    """Return the same weights for torch, and a view, a tie and a bfloat16 tensor."""
    made = {name: torch.from_numpy(np.array(array)) for name, array in arrays(seed).items()}
    made["fc3.weight"] = made["fc1.weight"].t()[::2]
    made["head.weight"] = made["fc1.weight"]
    made["norm"] = torch.ones(7, dtype=torch.bfloat16)
    return made


def _numpy() -> Iterator[Specimen]:
    odd = {
        **arrays(1),
        "block": np.asfortranarray(np.arange(24.0).reshape(4, 6)),
        "café": np.arange(6, dtype=">i2"),
        "names": np.array(["a", "bc"]),
        "settings": np.array([{"a": 1}], dtype=object),
    }
    yield Specimen("npz", "stored", {"a.npz": npz(arrays(1))})
    yield Specimen("npz", "deflated", {"a.npz": npz(arrays(2), packed=True)})
    yield Specimen("npz", "odd", {"a.npz": npz(odd)})
    yield Specimen("npz", "odd deflated", {"a.npz": npz(odd, packed=True)})
    yield Specimen("npy", "one array", {"model-5.ckpt": npy(arrays(1)["fc1.weight"])})


def _torch() -> Iterator[Specimen]:
    for form, how in (("torch zip", {}), ("torch legacy", {"_use_new_zipfile_serialization": False})):
        yield Specimen(form, "weights", {"a.pt": saved(tensors(1), **how)})
        beside = {"args.yaml": b"lr: 0.1\nmodel: resnet\nbetas:\n- 0.9\n- 0.99\n"}
        yield Specimen(form, "training", {"checkpoint.pth": saved(_training(3), **how), **beside})


def _training(seed: int) -> dict[str, Any]:
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    held = {"state_dict": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best_acc1": 71.5}
    return {**held, "args": {"lr": 0.1, "sizes": [1, 2, 3], "name": "résumé"}, "rng": torch.get_rng_state()}


def _safetensors() -> Iterator[Specimen]:
    whole = safe(_plain(1), metadata={"format": "pt", "step": "7", "note": "ü"})
    yield Specimen("safetensors", "weights", {"a.safetensors": whole})
    trainer = {"global_step": 500, "epoch": 1.5, "log_history": [{"eval_loss": 0.5, "step": 500}, {"loss": 2.0}]}
    beside = {
        "config.json": json.dumps({"model_type": "bert", "id2label": {"0": "A", "1": "B"}, "hidden_size": 8}).encode(),
        "trainer_state.json": json.dumps(trainer).encode(),
    }
    yield Specimen("safetensors", "trainer", {"checkpoint-500/" + name: content for name, content in
                   {"model.safetensors": safe(_plain(2)), **beside}.items()})  # fmt: skip
    for ending, save in (("safetensors", safe), ("bin", saved)):
        yield Specimen("HF shards", ending, {**_hf_shards(ending, save), **beside})
    config = json.dumps({"base_model_name_or_path": "bert-base", "peft_type": "LORA", "r": 2, "lora_alpha": 4}).encode()
    lora = {f"base.fc.lora_{one}.weight": torch.randn(4, 2) for one in "AB"}
    yield Specimen("PEFT", "safetensors", {"adapter_model.safetensors": safe(lora), "adapter_config.json": config})
    yield Specimen("PEFT", "bin", {"adapter_model.bin": saved(lora), "adapter_config.json": config})


def _plain(seed: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays(seed).items()}


def _hf_shards(ending: str, save: Any) -> dict[str, bytes]:
    stem = "model" if ending == "safetensors" else "pytorch_model"
    weights = _plain(1)
    files: dict[str, bytes] = {}
    listed: dict[str, str] = {}
    for number, names in enumerate((["fc1.weight", "fc1.bias", "global_step"], ["fc2.weight", "fc2.bias"]), 1):
        file = f"{stem}-{number:05}-of-00002.{ending}"
        files[file] = save({name: weights[name] for name in names})
        listed |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": 1}, "weight_map": listed}
    return {**files, f"{stem}.{ending}.index.json": json.dumps(index, indent=2, sort_keys=True).encode()}


def _keras() -> Iterator[Specimen]:
    held = {"dense/0": arrays(1)["fc1.weight"], "dense/1": arrays(1)["fc1.bias"], "head/0": arrays(1)["fc2.bias"]}
    weights = hdf5_files.made(hdf5_files.layers(held))
    latest = hdf5_files.made(hdf5_files.layers(held), libver="latest")
    config = json.dumps({"class_name": "Sequential", "config": {"name": "net"}, "compile_config": {"loss": "mse"}})
    yield Specimen("Keras HDF5", "weights", {"a.weights.h5": weights})
    yield Specimen("Keras HDF5", "latest", {"a.weights.h5": latest})
    yield Specimen("Keras HDF5", "legacy", {"a.h5": hdf5_files.made(_legacy)})
    yield Specimen("Keras HDF5", "chunks", {"a.h5": hdf5_files.made(_chunks)})
    yield Specimen("Keras zip", "stored", {"a.keras": hdf5_files.zipped(weights, config=config)})
    yield Specimen("Keras zip", "deflated", {"a.keras": hdf5_files.zipped(weights, 8, config=config)})
    shards = {f"big_{number:05}.weights.h5": {name: held[name]} for number, name in enumerate(held)}
    index: dict[str, list[str]] = {f"/layers/{name.split('/')[0]}/vars": [] for name in held}
    for file, content in shards.items():
        index[f"/layers/{next(iter(content)).split('/')[0]}/vars"].append(file)
    files = {file: hdf5_files.made(hdf5_files.layers(content)) for file, content in shards.items()}
    listed = json.dumps({"metadata": {"total_size": 1}, "weight_map": index}, indent=4).encode()
    yield Specimen("Keras shards", "three", {**files, "big.weights.json": listed})


def _legacy(file: h5py.File) -> None:
    file.attrs["keras_version"], file.attrs["backend"] = b"2.15.0", b"tensorflow"
    group = file.create_group("model_weights")
    group.attrs["layer_names"] = [b"dense", b"head"]
    for layer, name in (("dense", "fc1"), ("head", "fc2")):
        group.create_group(layer).attrs["weight_names"] = [f"{layer}/kernel:0".encode(), f"{layer}/bias:0".encode()]
        for part, key in (("kernel:0", "weight"), ("bias:0", "bias")):
            group[layer].create_dataset(f"{layer}/{part}", data=arrays(1)[f"{name}.{key}"])


def _chunks(file: h5py.File) -> None:
    whole = np.arange(400, dtype=np.float32).reshape(20, 20)
    how = {"chunks": (8, 6), "compression": "gzip", "shuffle": True}
    file.create_dataset("packed", data=whole, **how)
    file.create_dataset("checked", data=whole, chunks=(5, 20), fletcher32=True)
    file.attrs.create("name", "é" * 40, dtype=h5py.string_dtype())


def _tensorflow() -> Iterator[Specimen]:
    parts = {"fc1.weight": 3}
    yield Specimen("TF bundle", "plain", tf.bundle("model.ckpt-7", arrays(1)))
    yield Specimen("TF bundle", "parts", tf.bundle("model.ckpt-8", arrays(1), shards=2, parts=parts))
    yield Specimen("TF bundle", "object graph", _object_graph())
    v1 = {name: array for name, array in arrays(1).items() if array.dtype != np.float16}
    yield Specimen("TF Saver V1", "plain", {"model.ckpt-9": tf.saver_v1(v1, size=300)})
    packed = tf.saver_v1(v1, parts, compress=tf.compressed)
    yield Specimen("TF Saver V1", "snappy, in slices", {"model.ckpt-9": packed})


def _object_graph() -> dict[str, bytes]:
    ending = "/.ATTRIBUTES/VARIABLE_VALUE"
    keys = {"model/kernel" + ending: arrays(1)["fc1.weight"], "save_counter" + ending: np.asarray(3, np.int64)}
    root = [(1, "model"), (2, "save_counter")]
    nodes = [(root, []), ([(3, "kernel")], []), ([], [("c", "save_counter" + ending)])]
    text, crc = tf.string(tf.graph([*nodes, ([], [("dense/kernel", "model/kernel" + ending)])]))
    entries, held = [(b"", tf.header())], b""
    for key, array in keys.items():
        entries.append((key.encode(), tf.entry(tf.TYPES[array.dtype.name], array.shape, 0, len(held), array.tobytes())))
        held += array.tobytes()
    entries.append((b"_CHECKPOINTABLE_OBJECT_GRAPH", tf.entry(7, (), 0, len(held), text, crc)))
    return {"ckpt-3.data-00000-of-00001": held + text, "ckpt-3.index": tf.table(sorted(entries))}


def _pickles() -> Iterator[Specimen]:
    weights = arrays(1)
    nested = {"params": {"dense": {"kernel": weights["fc1.weight"], "bias": [weights["fc1.bias"], 3]}}, "step": 7}
    for protocol in (0, 2, 5):
        yield Specimen("pickle", f"protocol {protocol}", {"ckpt.pkl": pickle.dumps(nested, protocol)})
    jax: dict[str, Any] = {"w": np.asfortranarray(weights["fc1.weight"]), "scale": np.float32(3), "name": "a"}
    yield Specimen("pickle", "orders", {"ckpt.pkl": pickle.dumps([jax, (weights["fc2.bias"],)], 4)})


def _others() -> Iterator[Specimen]:
    """Yield files of kinds that are known and not read, each named like a checkpoint."""
    for name, content, _ in WHOLE:
        yield Specimen("other kinds", name, {f"model-5{Path(name).suffix}": content})


def _real() -> Iterator[Specimen]:
    """Yield the real checkpoints, one of each series; none where the folder is absent."""
    named = {
        "digits_slim": ("TF bundle", "model.ckpt-40"), "digits_slim_dropout_ema": ("TF bundle", "model.ckpt-80"),
        "fashion_lenet5_torch_zip": ("torch zip", ""), "mnist_cnn_torch_zip": ("torch zip", ""),
        "mnist_lenet5_torch_legacy": ("torch legacy", ""), "mnist_mlp_tf1": ("TF bundle", "fc2"),
        "savedmodel_shard_missing": ("TF bundle", ""), "tf1_saver_v1": ("TF Saver V1", ""),
        "tf_made_v1": ("TF Saver V1", "model.ckpt-1234"), "tf_made_v2": ("TF bundle", "sharded"),
    }  # fmt: skip
    for folder, (form, begin) in named.items():
        files = _files(REAL / folder, begin)
        if files:
            yield Specimen(form, folder, files)
    for file, form in (("model.h5", "Keras HDF5"), ("model.weights.h5", "Keras HDF5"), ("model.keras", "Keras zip")):
        files = _files(REAL / "mnist_mlp_keras3", file)
        if files:
            yield Specimen(form, f"mnist_mlp_keras3/{file}", files)


def _files(folder: Path, begin: str) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name.startswith(begin))
    kept = [path for path in paths if not path.name.endswith((".meta", ".pb")) and path.stat().st_size <= _MOST]
    made = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
    return {**made, "saved_model.pb": b"\x08\x01"} if "variables/variables.index" in made else made
