"""A Hugging Face Trainer run of a tiny BERT, stopped early by what Milepost finds: `python train.py [STEPS]`.

Start `milepost watch eval.py runs/bert --until done` beside it: it ends with the file `DONE` that the last line of
`main` makes.  The lines for Milepost are marked with `#:`.
"""

import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

from milepost.signals import Signals  #:

RUN = Path("runs/bert")


class StopEarly(TrainerCallback):  #:
    """Stop once the newest three evaluated checkpoints brought nothing."""

    signals = Signals("milepost-store", RUN, "top1")  #:

    def on_save(self, args, state, control, **more):  #:
        control.should_training_stop |= self.signals.should_stop(patience=3, min_delta=0.05)  #:


def make_model():
    """Return a tiny BERT that tells three classes apart."""
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return BertForSequenceClassification(BertConfig(vocab_size=60, max_position_embeddings=16, num_labels=3, **size))


def make_data(rows=1000, seed=1):
    """Return sentences of 8 made-up words, unless said otherwise those held out; four in five go by the first word."""
    random = torch.manual_seed(seed)
    words = torch.randint(0, 60, (rows, 8), generator=random)
    labels = torch.where(torch.rand(rows, generator=random) < 0.8, words[:, 0] % 3, words[:, 1] % 3)
    ones = torch.ones(8, dtype=torch.long)
    return [
        {"input_ids": row, "attention_mask": ones, "labels": label} for row, label in zip(words, labels, strict=True)
    ]


def main(steps=100_000):
    """Train, and save every 25 steps."""
    torch.manual_seed(0)
    options = {"save_steps": 25, "learning_rate": 2e-4, "per_device_train_batch_size": 64, "report_to": []}
    arguments = TrainingArguments(RUN, max_steps=steps, disable_tqdm=True, **options)
    trainer = Trainer(make_model(), arguments, train_dataset=make_data(2048, 0), callbacks=[StopEarly()])  #:
    trainer.train()
    print(f"stopped at step {trainer.state.global_step}")
    (RUN / "DONE").touch()  #:


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
