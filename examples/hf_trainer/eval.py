from torch.utils.data import DataLoader
from train import make_data, make_model

from milepost import Evaluation
from milepost.data import TorchLoader
from milepost.metrics import CrossEntropy, TopK
from milepost.models.torch import TorchModel
from milepost.tasks import Classification

test = DataLoader(make_data(1000, 1), batch_size=64)
evaluation = Evaluation(
    model=TorchModel(make_model),
    data={"test": TorchLoader(test, inputs=["input_ids", "attention_mask"], label="labels")},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), CrossEntropy()],
)
