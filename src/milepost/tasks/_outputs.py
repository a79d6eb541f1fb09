"""What a model returned, as an array of real numbers [rows, classes]; whatever else it is, a DataError says."""

from typing import Any

import array_api_compat
import numpy as np

from milepost.core.types import Array
from milepost.errors import DataError

_EXACT, _ROUNDED = 1e-4, 1e-2
"""How far from 1 the probabilities of a row may sum: in float32 and wider, and in 16 bits."""

_ONE_COLUMN = {
    "probabilities": "of one probability p a row, that of class 1, let it return the columns [1 - p, p]",
    "logits": (
        "of one logit s a row, let it return the columns [0, s]; of one probability p a row, which a sigmoid gives, "
        'the columns [1 - p, p], under Classification(outputs="probabilities")'
    ),
    "scores": (
        "of one score s a row, let it return the columns [t, s], t the score above which a row counts as class 1: 0 "
        "for a logit, 0.5 for a probability"
    ),
}
"""What a model of two classes that gives one number a row has to return, by what its outputs are declared to be."""


def refuse_several(outputs: Any, name: str) -> None:
    """Refuse several arrays, which NumPy would stack as if they were rows; a list of rows is one array."""
    if isinstance(outputs, tuple) or (isinstance(outputs, list) and any(np.ndim(item) > 1 for item in outputs)):
        kind = "list" if isinstance(outputs, list) else "tuple"
        raise DataError(
            f"classification expects one array of outputs [rows, classes]; the model returned a {kind} of "
            f"{len(outputs)}: let it return the scores alone, or a dict that names them, {{{name!r}: scores}}"
        )


def matrix(outputs: Any, declared: str) -> Any:
    """Return outputs as an array of real numbers [rows, classes], of the framework that they are of.

    `declared` is what the task says that they are: "logits", "probabilities" or "scores".
    """
    kind = type(outputs).__name__
    if not array_api_compat.is_array_api_obj(outputs):
        try:
            outputs = np.asarray(outputs)
        except ValueError:
            raise DataError(
                f"classification expects one array of outputs [rows, classes]; the model gave a {kind}: let it return "
                "the scores alone"
            ) from None
    if isinstance(outputs, np.ndarray) and outputs.dtype.kind == "V" and np.can_cast(outputs.dtype, np.float32):
        outputs = outputs.astype(np.float32)  # bfloat16 and narrower: the array-API standard has none
    if not array_api_compat.array_namespace(outputs).isdtype(outputs.dtype, ("real floating", "integral")):
        found = f"an array of {outputs.dtype}" if outputs.ndim else f"a {kind}"
        raise DataError(f"classification expects outputs of real numbers; the model gave {found}")
    if outputs.ndim != 2 or outputs.shape[1] < 2:  # noqa: PLR2004 - one axis of rows, one of at least two classes
        raise DataError(
            "classification expects outputs [rows, classes] with at least 2 classes; the model gave "
            f"{tuple(outputs.shape)}{_shape_advice(outputs.shape, declared)}"
        )
    return outputs


def _shape_advice(shape: tuple[int, ...], declared: str) -> str:
    if len(shape) == 2:  # noqa: PLR2004 - rows and one score
        return f": {_ONE_COLUMN[declared]}" if shape[1] else ""
    several = ": scores of several tokens or pixels a row have no task in Milepost yet; let it return those of one"
    return several if len(shape) > 2 else ""  # noqa: PLR2004 - more than rows and scores


def tolerance(outputs: Any) -> float:
    """Return how far from 1 a row of probabilities may sum, by the dtype that the model gave."""
    dtype = str(getattr(outputs, "dtype", "")).rpartition(".")[2]
    return _ROUNDED if dtype in ("float16", "bfloat16") else _EXACT


def near(scores: Any) -> Any:
    """Take what lies in host memory as NumPy's, without a copy: its calls cost a fraction of a framework's."""
    if (
        array_api_compat.is_torch_array(scores)
        and scores.device.type == "cpu"
        and str(scores.dtype) != "torch.bfloat16"
    ):
        return scores.numpy(force=True)
    return scores


def host(array: Any) -> Array:
    """Return an array of any framework as NumPy's."""
    if array_api_compat.is_torch_array(array):
        array = array.float() if str(array.dtype) == "torch.bfloat16" else array
        return np.asarray(array.numpy(force=True))
    return np.asarray(array)
