"""The names of a data set's classes, kept beside what identifies the data: they change no number, and can be mended."""

from collections.abc import Mapping
from contextlib import suppress

from milepost._internal.atomic import read_json
from milepost._internal.serialization import json_bytes
from milepost.store._storage import Storage


class ClassNames:
    """The folder of one data set's class names: a file each time that they are given otherwise; the last one counts."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder

    def add(self, names: Mapping[int, str]) -> bool:
        """Put names by class, unless these are the last ones; False where they are, or where there are none."""
        if not names or dict(names) == self.read():
            return False
        plain = {str(label): name for label, name in sorted(names.items())}
        return self._storage.put(f"{self._folder}/{len(self._storage.list(self._folder)):06}.json", json_bytes(plain))

    def read(self) -> dict[int, str]:
        """Return the names by the model's class; {} where none were given.

        >>> import tempfile
        >>> from milepost.store._storage import FolderStorage
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names = ClassNames(FolderStorage(folder), "names")
        ...     names.add({0: "ant", 1: "be"}), names.add({0: "ant", 1: "bee"}), names.add({0: "ant", 1: "bee"})
        ...     names.read()
        (True, True, False)
        {0: 'ant', 1: 'bee'}
        """
        for name in reversed(self._storage.list(self._folder)):
            with suppress(FileNotFoundError):  # deleted since
                held = read_json(self._storage.get(f"{self._folder}/{name}"))
                return {int(label): str(name) for label, name in held.items()}
        return {}
