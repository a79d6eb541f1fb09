from torch.utils.data import DataLoader
from train import make_data, make_model

from milepost import Evaluation
from milepost.data import TorchLoader
from milepost.metrics import CrossEntropy, TopK
from milepost.models.torch import TorchModel
from milepost.tasks import Classification

evaluation = Evaluation(
    model=TorchModel(make_model),
    data={"test": TorchLoader(DataLoader(make_data(train=False), batch_size=64))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), CrossEntropy()],
    variants=("raw", "ema"),  # a row for the weights, and a row for their averages
)
