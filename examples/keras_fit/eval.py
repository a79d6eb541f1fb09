from train import make_data, make_model

from milepost import Evaluation
from milepost.data import TFDataset
from milepost.metrics import CrossEntropy, TopK
from milepost.models.keras import KerasModel
from milepost.tasks import Classification

evaluation = Evaluation(
    model=KerasModel(make_model),
    data={"test": TFDataset(make_data(train=False), version="digits@1")},
    task=Classification(outputs="probabilities"),
    metrics=[TopK(1), TopK(5), CrossEntropy()],
)
