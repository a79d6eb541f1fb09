"""Values for a model's variables: those of a checkpoint, and those that the model was built with."""

from collections.abc import Iterable, Mapping

from milepost.core.types import Array, Variable
from milepost.errors import Mismatch, UsageError
from milepost.restore.values import Values


def array_for(variable: Variable, tensors: Mapping[str, Array]) -> Array:
    """Return a variable's array; Mismatch where there is none, or one of another shape (optional numbers aside)."""
    if variable.name not in tensors:
        raise Mismatch(f"variable {variable.name!r} of the model was given no array")
    array = tensors[variable.name]
    is_number = variable.optional and array.size == 1 and variable.shape in {(), (1,)}
    if variable.shape is not None and array.shape != variable.shape and not is_number:
        raise Mismatch(f"variable {variable.name!r} has shape {variable.shape}; found {tuple(array.shape)}")
    return array


def shared(name: str, tensors: Mapping[str, Array]) -> bool:
    """Return whether a model must copy the array of a name: nobody else has one that was read just for it.

    The file of a map may be overwritten in place, and cut short: then the process that reads the map is killed.
    """
    return not (isinstance(tensors, Values) and tensors.makes(name))


def repeatable(
    names: Iterable[str], first: Mapping[str, Array], second: Mapping[str, Array], advice: str
) -> dict[str, Array]:
    """Return the values by name; UsageError where building the model twice gave two values of one variable."""
    wanted = list(names)
    for name in wanted:
        if first[name].tobytes() != second[name].tobytes():
            raise UsageError(
                f"{name} is not restored, and building the model gives it other values each time; {advice}"
            )
    return {name: first[name] for name in wanted}
