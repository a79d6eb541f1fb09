# Written by scripts/make_stubs.py: do not edit.
from milepost.data.arrays import Arrays as Arrays
from milepost.data.batches import Batches as Batches
from milepost.data.images import Images as Images
from milepost.data.tfdata import TFDataset as TFDataset
from milepost.data.tfdata import TFRecords as TFRecords
from milepost.data.torch_loader import TorchLoader as TorchLoader

__all__ = ["Arrays", "Batches", "Images", "TFDataset", "TFRecords", "TorchLoader"]
