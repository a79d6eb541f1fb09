"""What PyTorch computes with: devices, dtypes, autocast, threads; checked by name, recorded as plain data."""

import warnings

import torch

from milepost.core.types import Json
from milepost.errors import UsageError

DTYPES = ("float64", "float32", "bfloat16", "float16")
AUTOCASTS = ("bfloat16", "float16")


def device_of(name: str) -> torch.device:
    """Return a device that works here; a `UsageError` says why another does not."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"device {name!r} cannot be used by PyTorch {torch.__version__} here: {first}") from error


def declared(keyword: str, found: str | torch.dtype | None, allowed: tuple[str, ...]) -> torch.dtype | None:
    """Return the dtype of a name; a `UsageError` lists those that there are.

    >>> declared("dtype", "bfloat16", DTYPES), declared("dtype", None, DTYPES)
    (torch.bfloat16, None)
    """
    name = name_of(found) if isinstance(found, torch.dtype) else found
    if name is None:
        return None
    if name not in allowed:
        raise UsageError(f"TorchModel({keyword}={name!r}): expected None or one of {', '.join(allowed)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_autocast(device: torch.device, dtype: torch.dtype) -> None:
    """Refuse with a `UsageError` what PyTorch would only warn of, to compute without autocast then."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.autocast(device.type, dtype=dtype)
    except (RuntimeError, ValueError, UserWarning) as error:
        first = str(error).splitlines()[0]
        raise UsageError(
            f"TorchModel(autocast={name_of(dtype)!r}): PyTorch {torch.__version__} has no such autocast on {device}: "
            f"{first}"
        ) from error


def environment(device: torch.device) -> dict[str, Json]:
    """Return what else bears on the last digits: recorded, never part of a key."""
    try:
        precision = str(torch.get_float32_matmul_precision())
    except RuntimeError:  # the newer settings, one a backend, disagree
        precision = "mixed"
    on_gpu = device.type == "cuda"
    return {
        "framework": "torch",
        "version": str(torch.__version__),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        # The processor, or the features of it, that kernels are chosen by.
        "kernel": str(torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability()),
        "float32_matmul": precision,
    }
