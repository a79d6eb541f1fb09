"""The laws of a store's backing, and of the store on it."""

from pathlib import Path

import numpy as np
from tests.store._work import KEY, ROWS, check_whole, churn, contents, killed_runs, made_part

from milepost.store.store import Store
from milepost.testing.stores import StorageContract, side_by_side, temporaries


class TestFolderStorage(StorageContract):
    pass


class TestStore:
    """Kills, overlaps, order of arrival."""

    def test_a_kill_before_any_file_operation_leaves_a_sound_store(self, tmp_path: Path) -> None:
        """Killed before one operation after another: it opens, nothing is half, a sweep and a second run mend it."""
        calm = tmp_path / "calm"
        churn(calm)
        left = 0
        for point in killed_runs(tmp_path):
            folder = tmp_path / str(point)
            check_whole(folder)
            left += len(temporaries(folder))
            if (folder / "store.json").exists():
                Store.open(folder).sweep()
                assert not temporaries(folder), f"kill before operation {point}"
            churn(folder)
            Store.open(folder).sweep()
            assert contents(folder) == contents(calm), f"kill before operation {point}"
        assert left, "no kill fell between writing and naming: the test has lost its teeth"

    def test_two_processes_at_once_leave_what_one_leaves(self, tmp_path: Path) -> None:
        """Both do all the work, side by side: no double record, nothing half, the same bytes."""
        churn(tmp_path / "calm")
        side_by_side("tests.store._work", *[f"churn(Path({str(tmp_path / 'both')!r}))"] * 2)
        Store.open(tmp_path / "both").sweep()
        assert contents(tmp_path / "both") == contents(tmp_path / "calm")

    def test_any_order_and_overlap_seal_to_the_same_bytes(self, tmp_path: Path) -> None:
        """Parts of two processes, overlapping, in any order: the seal has the same bytes."""
        bounds = [(0, 300), (300, 1000), (0, 512), (512, 768), (768, 1000), (200, 600)]
        sealed = []
        for seed in range(4):
            store = Store.create(tmp_path / str(seed))
            parts = store.evaluation(KEY).parts("kept")
            for index in np.random.default_rng(seed).permutation(len(bounds)):
                parts.publish(made_part(*bounds[index]))
            assert parts.seal(ROWS)
            assert parts.seal(ROWS)
            sealed.append(contents(tmp_path / str(seed))[f"evaluations/{KEY[0]}/{KEY}/columns.kept.npz"])
        assert len(set(sealed)) == 1
