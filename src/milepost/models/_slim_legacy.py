"""What tf_slim 1.1.0 looks for in places that newer TensorFlow and tf_keras have moved.

`slim.batch_norm` goes through `tensorflow.python.layers.normalization`, which imports `tf_keras.legacy_tf_layers` on
first use; tf_keras keeps these modules as `tf_keras.src.legacy_tf_layers`.  And tf_slim asks for
`tensorflow.python.framework.ops.Tensor`, a class that now stands beside that module.  Both names are put back; nothing
that exists is replaced, and tf_keras itself is imported only once a layer is asked for.
"""

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

_OLD, _NEW = "tf_keras.legacy_tf_layers", "tf_keras.src.legacy_tf_layers"
_MODULES = ("", ".base", ".convolutional", ".core", ".normalization", ".pooling")


class _Moved(ModuleType):
    """A module under its old name, which loads the one under the new name at the first look into it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked of every module there is by those who walk through all
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__.replace(_OLD, _NEW)), name)


def put_back(framework: Any, tensor: type) -> None:
    """Put back the moved modules, and the class into TensorFlow's module of operations; also after tf_slim's import."""
    if not hasattr(framework, "Tensor"):
        framework.Tensor = tensor
    found = importlib.util.find_spec("tf_keras")
    if not (found and found.origin) or os.path.isdir(os.path.join(os.path.dirname(found.origin), "legacy_tf_layers")):
        return
    for name in _MODULES:
        sys.modules.setdefault(_OLD + name, _Moved(_OLD + name))
