"""Tensors as NumPy arrays of the same memory and dtype."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes

from milepost.errors import DataError, MissingExtra

try:
    import torch
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error

# NumPy has no such dtypes; ml_dtypes' are views of the same bytes.
_BITS = {
    torch.bfloat16: (torch.int16, ml_dtypes.bfloat16),
    torch.float8_e4m3fn: (torch.uint8, ml_dtypes.float8_e4m3fn),
    torch.float8_e5m2: (torch.uint8, ml_dtypes.float8_e5m2),
}


def as_arrays(value: Any) -> Any:
    """Turn the tensors of nested items into NumPy arrays; the host's copy of tensors on a device."""
    if isinstance(value, Mapping):
        return {str(name): as_arrays(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(map(as_arrays, value)) if type(value) in {tuple, list} else tuple(map(as_arrays, value))
    if not isinstance(value, torch.Tensor):
        return value
    if value.layout is not torch.strided:
        raise DataError(f"found a tensor of layout {value.layout}; expected a dense one: call to_dense()")
    if value.dtype in _BITS:
        bits, dtype = _BITS[value.dtype]
        return value.detach().cpu().contiguous().view(bits).numpy().view(dtype)
    return value.numpy(force=True)
