"""LoRA adapters merged into their base by PEFT itself."""

import re
import warnings
from collections.abc import Collection, Mapping
from types import NoneType
from typing import Any

from milepost._internal.text import listed
from milepost.core.types import Adapter, Json
from milepost.errors import Mismatch, MissingExtra, Unsupported

try:
    import peft
except ModuleNotFoundError as error:
    raise MissingExtra("peft", "peft") from error

import torch

CALLED = f"PEFT {peft.__version__}"
_PREFIX = "base_model.model."
_LORA = re.compile(r"\.lora_[A-Za-z_]+(?:\.|$)")
_TAKEN: dict[str, tuple[type, ...]] = {
    "r": (int,),
    "lora_alpha": (int, float),
    "bias": (str,),
    "modules_to_save": (list,),
    "rank_pattern": (dict,),
    "alpha_pattern": (dict,),
    **dict.fromkeys(("fan_in_fan_out", "use_rslora", "use_dora", "lora_bias"), (bool,)),
}
"""What decides the merged values, with its type."""
_IDLE = {
    *(
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "task_type",
        "inference_mode",
        "peft_type",
        "peft_version",
    ),
    # Which modules were trained is taken from the tensors' names; the rest was for training, or counts with another.
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "megatron_core"),
    *("eva_config", "corda_config", "lora_ga_config", "loftq_config", "runtime_config", "qalora_group_size"),
}
_PLAIN = re.compile(r"\^?[\w.\\-]+\$?")
"""Patterns of module names that are nearly names: PEFT would run any regular expression of an adapter's author."""
_DRAWN = (None, True, False, "gaussian")
"""Kinds of first values that leave the base as it is."""


def merged(base: torch.nn.Module, adapter: Adapter, tensors: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """Return the base, which is changed, with an adapter merged into it, as `merge_and_unload` does.

    Raises `Unsupported` for another kind of adapter and for settings that are not known here, and `Mismatch` where the
    adapter is not one of this base.
    """
    config = _config(adapter, tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd about the adapter's settings was for its training
        try:
            model: Any = peft.PeftModel(base, config)
            _check_names(
                peft.get_peft_model_state_dict(model, save_embedding_layers=False), model.state_dict(), tensors
            )
            outcome: Any = peft.set_peft_model_state_dict(model, dict(tensors))
            if outcome.unexpected_keys:
                raise Mismatch(f"the base has no place for tensors of the adapter: {listed(outcome.unexpected_keys)}")
            found: torch.nn.Module = model.merge_and_unload()
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError, re.error) as error:
            reason = next((line.strip() for line in str(error).splitlines()[-1:]), type(error).__name__)
            raise Mismatch(f"{CALLED} cannot merge the adapter into the base that `build` gives: {reason}") from error
    return found


def given_whole(names: Collection[str]) -> set[str]:
    """Return the variables of the base whose values an adapter holds itself: modules that it saved, biases.

    >>> sorted(given_whole(["base_model.model.fc.lora_A.weight", "base_model.model.head.weight"]))
    ['head.weight']
    """
    whole = {name.removeprefix(_PREFIX) for name in names if not _LORA.search(name)}
    return {name.replace(".base_layer.", ".") for name in whole}


def changed(names: Collection[str]) -> set[str]:
    """Return the modules of the base that an adapter changes.

    >>> changed(["base_model.model.fc.lora_A.weight", "base_model.model.head.weight"])
    {'fc'}
    """
    return {name[: found.start()].removeprefix(_PREFIX) for name in names if (found := _LORA.search(name))}


def _config(adapter: Adapter, names: Collection[str]) -> Any:
    held = adapter.config
    if adapter.kind != "LORA":
        raise Unsupported(
            f"an adapter of kind {adapter.kind}; TorchModel(adapter=True) merges LORA alone: merge it with PEFT's "
            "merge_and_unload, save the result, and evaluate that"
        )
    if not held:
        raise Mismatch(
            "the adapter's adapter_config.json is not beside it, and lora_alpha, which scales the adapter, stands only "
            "there: evaluate the folder that PEFT's save_pretrained wrote"
        )
    odd = {name: value for name, value in held.items() if name not in _TAKEN and name not in _IDLE and value}
    if held.get("init_lora_weights") in _DRAWN:
        odd.pop("init_lora_weights", None)
    odd |= {name: held[name] for name, kind in _TAKEN.items() if not isinstance(held.get(name), (*kind, NoneType))}
    odd |= {
        key: pattern
        for key in ("rank_pattern", "alpha_pattern")
        for pattern in (() if key in odd else held.get(key) or ())
        if not _PLAIN.fullmatch(str(pattern))
    }
    if odd:
        name, value = next(iter(odd.items()))
        raise Unsupported(
            f"adapter_config.json has {name}={str(value)[:60]!r}, which TorchModel(adapter=True) does not merge: merge "
            "it with PEFT's merge_and_unload, save the result, and evaluate that"
        )
    taken: dict[str, Json] = {name: held[name] for name in _TAKEN if held.get(name) is not None}
    targets = "|".join(re.escape(name) for name in sorted(changed(names)))
    return peft.LoraConfig(**taken, target_modules=f"(?:{targets})")


def _check_names(expected: Collection[str], known: Collection[str], names: Collection[str]) -> None:
    missing = [name for name in expected if name not in names]
    strangers = [name for name in names if name not in expected and name not in known]
    if missing or strangers:
        what = [f"{len(missing)} tensors are missing: {listed(missing)}"] if missing else []
        what += [f"{len(strangers)} tensors are unexpected: {listed(strangers)}"] if strangers else []
        raise Mismatch(f"the adapter is not one of the base that `build` gives: {'; '.join(what)}")
