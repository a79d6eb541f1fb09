"""Evaluate a folder of checkpoints from Python, and ask the results: `python examples/from_python.py`."""

import tempfile
from pathlib import Path

import numpy as np

from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import CrossEntropy, TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification

random = np.random.default_rng(0)
images = random.normal(size=(359 + 1, 16)).astype(np.float32)
truth = random.normal(size=(16, 10)).astype(np.float32)
labels = (images @ truth).argmax(axis=1)


def predict(weights: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """Return the logits [rows, 10] of a batch."""
    return inputs @ weights["kernel"]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={"test": Arrays(images, labels)},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), TopK(5), CrossEntropy()],
    batch_size=359,  # the last batch has one row, and counts as much as the other 359 in a mean of batch means
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "runs", "kernel")
        run.mkdir(parents=True)
        for step in (100, 200, 300):
            noise = random.normal(size=truth.shape).astype(np.float32)
            np.savez(run / f"step-{step}.npz", kernel=truth + noise * (400 - step) / 200)
        results = evaluation.run(str(run), store=str(Path(folder, "evals")))
        print(results)
        print("top-1 of step 300:", results.value("top1", step=300))
        for record in results.batch_means(36, 100):
            if record["metric"] == "top1" and record["checkpoint"]["step"] == 300:
                print(f"as a mean over batches of {record['batch_size']}: {record['value']:.6f}")
        again = evaluation.run(str(run), store=str(Path(folder, "evals")))
        print(f"again: {again.evaluated} evaluated, {again.skipped} skipped")
