from train import make_data, make_model

from milepost import Evaluation
from milepost.data import TorchLoader
from milepost.metrics import CrossEntropy, TopK
from milepost.models.torch import TorchModel
from milepost.tasks import Classification

evaluation = Evaluation(
    model=TorchModel(make_model),
    data={"test": TorchLoader(make_data(), inputs=["input_ids", "attention_mask"], label="labels", version="words@1")},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), CrossEntropy()],
)
