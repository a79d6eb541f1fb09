from data import make_loader
from model import DigitsNet

from milepost import Evaluation
from milepost.data import TorchLoader
from milepost.metrics import CrossEntropy, TopK
from milepost.models.torch import TorchModel
from milepost.tasks import Classification

evaluation = Evaluation(
    model=TorchModel(DigitsNet),
    data={"test": TorchLoader(make_loader(train=False), version="digits-test@1")},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(5), CrossEntropy()],
)
