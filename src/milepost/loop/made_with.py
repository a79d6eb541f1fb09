"""What the rows of a data set were made with: what may change their last digits though the data is the same."""

import platform
import re
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_MODULES = frozenset(
    {"PIL", "albumentations", "av", "cv2", "datasets", "decord", "imageio", "jax", "kornia", "librosa", "numpy"}
    | {"scipy", "skimage", "soundfile", "tensorflow", "tokenizers", "torch", "torchaudio", "torchcodec", "torchvision"}
)


def made_with() -> dict[str, str]:
    """Return the versions of the libraries in use that decode or transform, and the model of the processor.

    >>> sorted({"numpy", "processor"} & made_with().keys())
    ['numpy', 'processor']
    """
    found = {name: getattr(sys.modules[name], "__version__", None) for name in sorted(_MODULES & sys.modules.keys())}
    versions = {name: str(version) for name, version in found.items() if isinstance(version, str)}  # torch's is no str
    return {**versions, "processor": _processor()}


@lru_cache(maxsize=1)
def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="ascii"), re.MULTILINE)
        if found is not None:
            return found[1]
    return platform.processor() or platform.machine()
