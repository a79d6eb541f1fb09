"""The folders that trainers leave behind: which run each checkpoint is of, what it is called, and its step."""

import io
from pathlib import Path

import numpy as np
import pytest
from tests.checkpoints._tf_writer import write_bundle

from milepost.checkpoints._files.own import name_of
from milepost.checkpoints.discovery import find
from milepost.checkpoints.folders import own_folder, run_folder
from milepost.checkpoints.names import epoch_of_name, step_of_name

HEX = "0f" * 16
SPEECHBRAIN = ("model", "optimizer", "lr_annealing", "counter")
"""A file of each thing that its Checkpointer was given, under the name that the script gave."""
BESIDE = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin", "config.json")

# trainer: files (a name that ends in .index is a bundle's), then what is found: run, name, step.
LAYOUTS: dict[str, tuple[tuple[str, ...], set[tuple[str, str, int | None]]]] = {
    "Hugging Face Trainer, with its best model saved at the end": (
        (
            *(f"bert/checkpoint-{step}/{name}" for step in (900, 10000) for name in ("model.safetensors", *BESIDE)),
            "bert/model.safetensors",
        ),
        {("bert", "checkpoint-900", 900), ("bert", "checkpoint-10000", 10000), ("bert", "model", None)},
    ),
    "Hugging Face Trainer with DeepSpeed": (
        (
            "out/checkpoint-500/global_step500/mp_rank_00_model_states.pt",
            "out/checkpoint-500/global_step500/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
        ),
        {("out", "checkpoint-500", 500)},
    ),
    "DeepSpeed": (
        (
            "gpt/ckpts/global_step100/mp_rank_00_model_states.pt",
            "gpt/ckpts/global_step100/zero_pp_rank_0_mp_rank_00_optim_states.pt",
        ),
        {("gpt", "global_step100", 100)},
    ),
    "Accelerate by steps": (
        ("proj/step_500/model.safetensors", "proj/step_500/optimizer.bin", "proj/step_500/random_states_0.pkl"),
        {("proj", "step_500", 500)},
    ),
    "Accelerate by epochs": (
        ("proj/epoch_3/pytorch_model.bin", "proj/epoch_10/pytorch_model.bin"),
        {("proj", "epoch_3", None), ("proj", "epoch_10", None)},
    ),
    "Accelerate by itself, with two models": (
        ("proj/checkpoints/checkpoint_0/model.safetensors", "proj/checkpoints/checkpoint_0/model_1.safetensors"),
        {("proj", "checkpoint_0/model", 0), ("proj", "checkpoint_0/model_1", 0)},
    ),
    "diffusers": (
        ("dream/checkpoint-500/unet/diffusion_pytorch_model.safetensors", "dream/checkpoint-500/optimizer.bin"),
        {("dream", "checkpoint-500", 500)},
    ),
    "Lightning": (
        (
            "lightning_logs/version_0/checkpoints/epoch=3-step=400.ckpt",
            "lightning_logs/version_0/checkpoints/last.ckpt",
            "lightning_logs/version_1/checkpoints/epoch=3-step=400.ckpt",
        ),
        {
            ("lightning_logs/version_0", "epoch=3-step=400", 400),
            ("lightning_logs/version_0", "last", None),
            ("lightning_logs/version_1", "epoch=3-step=400", 400),
        },
    ),
    "Lightning with DeepSpeed": (
        (
            "logs/version_0/checkpoints/epoch=3-step=400.ckpt/checkpoint/mp_rank_00_model_states.pt",
            "logs/version_0/checkpoints/last.ckpt/checkpoint/mp_rank_00_model_states.pt",
        ),
        {("logs/version_0", "epoch=3-step=400", 400), ("logs/version_0", "last", None)},
    ),
    "Lightning without a logger": (
        ("exp1/checkpoints/epoch=3-step=400.ckpt",),
        {("exp1", "epoch=3-step=400", 400)},
    ),
    "NeMo": (
        ("nemo/mini/2024-05-01_12-00-00/checkpoints/mini--val_loss=0.52-epoch=3-last.ckpt",),
        {("nemo/mini/2024-05-01_12-00-00", "mini--val_loss=0.52-epoch=3-last", None)},
    ),
    "NeMo 2": (
        (
            *(
                f"nemo/mini/2024-05-01_12-00-00/checkpoints/mini--val_loss=0.52-step=99-consumed_samples=800.0/{name}"
                for name in ("weights/.metadata", "weights/__0_0.distcp", "weights/common.pt", "context/io.json")
            ),
        ),
        {("nemo/mini/2024-05-01_12-00-00", "mini--val_loss=0.52-step=99-consumed_samples=800.0", 99)},
    ),
    "Composer": (
        ("llm/checkpoints/ep3-ba400-rank0.pt", "llm/checkpoints/latest-rank0.pt"),
        {("llm", "ep3-ba400-rank0", 400), ("llm", "latest-rank0", None)},
    ),
    "Composer, sharded": (
        ("llm/checkpoints/ep3-ba400/.metadata", "llm/checkpoints/ep3-ba400/__0_0.distcp"),
        {("llm", "ep3-ba400", 400)},
    ),
    "torchtitan": (
        ("outputs/checkpoint/step-500/.metadata", "outputs/checkpoint/step-500/__0_0.distcp"),
        {("outputs", "step-500", 500)},
    ),
    "Megatron-LM": (
        (
            "gpt/iter_0002000/mp_rank_00/model_optim_rng.pt",
            "gpt/iter_0002000/mp_rank_00/distrib_optim.pt",
        ),
        {("gpt", "iter_0002000", 2000)},
    ),
    "Megatron-LM, tensors in parallel": (
        ("gpt/iter_0002000/mp_rank_00/model_optim_rng.pt", "gpt/iter_0002000/mp_rank_01/model_optim_rng.pt"),
        {
            ("gpt", "iter_0002000/mp_rank_00/model_optim_rng", 2000),
            ("gpt", "iter_0002000/mp_rank_01/model_optim_rng", 2000),
        },
    ),
    "verl, with shards by FSDP and a model for Hugging Face": (
        (
            *(
                f"checkpoints/gsm8k/ppo/global_step_435/{role}/{part}_world_size_2_rank_{rank}.pt"
                for role in ("actor", "critic")
                for part in ("model", "optim", "extra_state")
                for rank in (0, 1)
            ),
            "checkpoints/gsm8k/ppo/global_step_435/actor/huggingface/model.safetensors",
            "checkpoints/gsm8k/ppo/global_step_435/actor/huggingface/config.json",
            "checkpoints/gsm8k/ppo/latest_checkpointed_iteration.txt",
        ),
        {
            *(
                ("checkpoints/gsm8k/ppo", f"global_step_435/{role}/model_world_size_2_rank_{rank}", 435)
                for role in ("actor", "critic")
                for rank in (0, 1)
            ),
            ("checkpoints/gsm8k/ppo", "global_step_435/actor/huggingface/model", 435),
        },
    ),
    "OLMo": (
        (
            *(f"olmo/step{step}-unsharded/{name}.pt" for step in (0, 1000) for name in ("model", "optim")),
            "olmo/step2000-unsharded-tmp/model.pt",
        ),
        {
            ("olmo", "step0-unsharded", 0),
            ("olmo", "step1000-unsharded", 1000),
        },
    ),
    "detectron2": (
        ("output/model_0004999.pth", "output/model_final.pth"),
        {("output", "model_0004999", 4999), ("output", "model_final", None)},
    ),
    "MMEngine": (
        ("work_dirs/rn50/epoch_12.pth", "work_dirs/rn50/iter_8000.pth", "work_dirs/rn50/best_top1_epoch_11.pth"),
        {
            ("work_dirs/rn50", "epoch_12", None),
            ("work_dirs/rn50", "iter_8000", 8000),
            ("work_dirs/rn50", "best_top1_epoch_11", None),
        },
    ),
    "ultralytics": (
        ("runs/detect/train3/weights/best.pt", "runs/detect/train3/weights/epoch10.pt"),
        {("runs/detect/train3", "best", None), ("runs/detect/train3", "epoch10", None)},
    ),
    "fairseq": (
        (
            "wmt/checkpoints/checkpoint3.pt",
            "wmt/checkpoints/checkpoint_3_5000.pt",
            "wmt/checkpoints/checkpoint_best.pt",
        ),
        {("wmt", "checkpoint3", None), ("wmt", "checkpoint_3_5000", 5000), ("wmt", "checkpoint_best", None)},
    ),
    "ESPnet": (
        ("exp/asr/12epoch.pth", "exp/asr/checkpoint.pth", "exp/asr/valid.acc.ave_10best.pth"),
        {("exp/asr", "12epoch", None), ("exp/asr", "checkpoint", None), ("exp/asr", "valid.acc.ave_10best", None)},
    ),
    "spaCy": (
        ("output/model-best/transformer/model.pt", "output/model-last/transformer/model.pt"),
        {("output", "model-best", None), ("output", "model-last", None)},
    ),
    "timm": (
        ("output/train/2024-rn50-224/checkpoint-10.pth.tar", "output/train/2024-rn50-224/model_best.pth.tar"),
        {("output/train/2024-rn50-224", "checkpoint-10", 10), ("output/train/2024-rn50-224", "model_best", None)},
    ),
    "SpeechBrain": (
        (
            *(f"results/crdnn/1986/save/CKPT+2024-05-01+12-00-00+00/{name}.ckpt" for name in SPEECHBRAIN),
            "results/crdnn/1986/save/CKPT+2024-05-01+12-00-00+00/CKPT.yaml",
        ),
        {("results/crdnn/1986", f"CKPT+2024-05-01+12-00-00+00/{name}", None) for name in SPEECHBRAIN},
    ),
    "Ray Train": (
        ("ray/exp/Trainer_a1b2_00000_0_lr=0.1_2024-05-01/checkpoint_000010/model.pt",),
        {("ray/exp/Trainer_a1b2_00000_0_lr=0.1_2024-05-01", "checkpoint_000010", 10)},
    ),
    "Ray Train 2": (
        ("ray/exp/checkpoint_2025-05-01_12-00-00.123456/model.pt",),
        {("ray/exp", "checkpoint_2025-05-01_12-00-00.123456", None)},
    ),
    "MLflow 3, logged models": (
        (
            f"mlruns/1/models/m-{HEX}/artifacts/data/model.pth",
            f"mlruns/1/models/m-{HEX[::-1]}/artifacts/data/model.pth",
        ),
        {("mlruns/1", f"m-{HEX}", None), ("mlruns/1", f"m-{HEX[::-1]}", None)},
    ),
    "Keras' ModelCheckpoint": (
        ("fit/ckpt/weights.epoch=03-0.52.weights.h5", "fit/ckpt/03-0.52.keras"),
        {("fit", "weights.epoch=03-0.52", None), ("fit", "03-0.52", None)},
    ),
    "TensorFlow's CheckpointManager": (
        ("resnet/tf_ckpts/ckpt-3.index", "lenet/checkpoints/ckpt-3.index"),
        {("resnet/tf_ckpts", "ckpt-3", 3), ("lenet", "ckpt-3", 3)},
    ),
    "Slim": (
        ("train_dir/model.ckpt-200.index", "train_dir/model.ckpt-1000.index"),
        {("train_dir", "model.ckpt-200", 200), ("train_dir", "model.ckpt-1000", 1000)},
    ),
    "Estimator, with eval folders and exports": (
        (
            "model_dir/model.ckpt-1000.index",
            "model_dir/eval/events.out.tfevents.1",
            "model_dir/export/best_exporter/1600000000/saved_model.pb",
        ),
        {("model_dir", "model.ckpt-1000", 1000), ("model_dir", "1600000000", None)},
    ),
    "TF-style step folders": (
        ("cnn/step_00100/model.ckpt.index", "cnn/step_00200/model.ckpt.index"),
        {("cnn", "step_00100", 100), ("cnn", "step_00200", 200)},
    ),
    "T5X": (
        ("t5x/checkpoint_1400000/checkpoint", "t5x/checkpoint_1400000/target.decoder.scale/.zarray"),
        {("t5x", "checkpoint_1400000", 1400000)},
    ),
    "Orbax": (
        ("flax/1000/_CHECKPOINT_METADATA", "flax/1000/default/manifest.ocdbt", "flax/1500.orbax-checkpoint-tmp/d/0"),
        {("flax", "1000", 1000)},
    ),
    "Orbax' newer form": (
        ("flax/ckpts/100/orbax.checkpoint", "flax/ckpts/100/pytree/manifest.ocdbt"),
        {("flax", "100", 100)},
    ),
    "Hydra": (
        ("multirun/2024-05-01/12-00-00/0/model.pt", "multirun/2024-05-01/12-00-00/1/checkpoints/step_5.pt"),
        {("multirun/2024-05-01/12-00-00/0", "model", None), ("multirun/2024-05-01/12-00-00/1", "step_5", 5)},
    ),
    "Hydra, with folders named by settings": (
        ("multirun/bs=32,epoch=100/model.pt", "multirun/bs=32,epoch=200/model.pt"),
        {("multirun/bs=32,epoch=100", "model", None), ("multirun/bs=32,epoch=200", "model", None)},
    ),
    "Weights & Biases": (
        ("wandb/run-20240501_120000-a1b2c3/files/model.h5",),
        {("wandb/run-20240501_120000-a1b2c3", "model", None)},
    ),
    "Weights & Biases' artifacts": (
        ("proj/artifacts/model-a1b2c3:v0/model.ckpt", "proj/artifacts/model-a1b2c3:v7/model.ckpt"),
        {("proj", "model-a1b2c3:v0", None), ("proj", "model-a1b2c3:v7", None)},
    ),
    "MLflow": (
        (f"mlruns/1/{HEX}/artifacts/model/data/model.pth", f"mlruns/1/{HEX}/artifacts/checkpoints/epoch_1/model.pth"),
        {(f"mlruns/1/{HEX}", "model", None), (f"mlruns/1/{HEX}", "epoch_1", None)},
    ),
    "folds, seeds and settings": (
        (
            "cv/fold0/model.pt",
            "cv/fold1/step_5.pt",
            "cv/seed42/step_5.pt",
            "cv/lr0.1_bs32_epoch90/step_5.pt",
            "cv/max_steps_5000/step_5.pt",
            "cv/epochs100/step_5.pt",
            "cv/step1_pretraining/step_5.pt",
        ),
        {
            ("cv/fold0", "model", None),
            ("cv/fold1", "step_5", 5),
            ("cv/seed42", "step_5", 5),
            ("cv/lr0.1_bs32_epoch90", "step_5", 5),
            ("cv/max_steps_5000", "step_5", 5),
            ("cv/epochs100", "step_5", 5),
            ("cv/step1_pretraining", "step_5", 5),
        },
    ),
    "steps within epochs": (
        ("exp/epoch_3/step_100.pt", "exp/epoch_3/step_200/model.pt"),
        {("exp", "epoch_3/step_100", 100), ("exp", "epoch_3/step_200", 200)},
    ),
    "folders called best and last": (
        ("exp/checkpoint-5/model.pt", "exp/best/model.pt", "exp/checkpoint-last/model.pt", "final/step_5.pt"),
        {("exp", "checkpoint-5", 5), ("exp", "best", None), ("exp", "checkpoint-last", None), ("final", "step_5", 5)},
    ),
    "runs within a folder that is named like a step": (
        ("iter2/bert/step_5.pt", "iter2/bert/best.pt", "iter2/gpt/checkpoint-5/model.pt"),
        {("iter2/bert", "step_5", 5), ("iter2/bert", "best", None), ("iter2/gpt", "checkpoint-5", 5)},
    ),
    "being written": (
        ("bert/tmp-checkpoint-500/model.safetensors", "bert/checkpoint-400/model.safetensors"),
        {("bert", "checkpoint-400", 400)},
    ),
}


def make(folder: Path, files: tuple[str, ...]) -> None:
    """Write files: weights where that is what they are named like, else something short."""
    held = io.BytesIO()
    np.savez(held, w=np.zeros(3, np.float32))
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".index"):
            write_bundle(path, {"w": np.zeros(3, np.float32)})
        elif path.suffix in {".pt", ".pth", ".ckpt", ".tar", ".bin", ".safetensors", ".h5", ".keras"}:
            path.write_bytes(held.getvalue())  # known by what it holds, whatever its name
        else:
            path.write_bytes(b"{}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(layout: str, tmp_path: Path) -> None:
    files, expected = LAYOUTS[layout]
    make(tmp_path, files)
    paths = [one.path for one in find([str(tmp_path)])]
    found = [(str(Path(run_folder(path)).relative_to(tmp_path)), name_of(path), step_of_name(path)) for path in paths]
    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_named_does_not_change_the_run(layout: str, tmp_path: Path) -> None:
    files, _ = LAYOUTS[layout]
    make(tmp_path, files)
    for path in [one.path for one in find([str(tmp_path)])]:
        for named in (Path(path), *Path(path).parents):
            if named == tmp_path:
                break
            again = {one.path: run_folder(one.path) for one in find([str(named)])}
            assert again.get(path, run_folder(path)) == run_folder(path)


def test_a_date_is_no_step() -> None:
    for name in ("checkpoint_2025-05-01_12-00-00.123456", "model_2024-12-31.pt", "a/ckpt-2025-05-01/model.pt"):
        assert step_of_name(name) is None
    assert step_of_name("checkpoint_2025") == step_of_name("2024-12-31_step-2025.pt") == 2025


def test_epochs() -> None:
    names = ("a/epoch_3/model.pt", "a/ep3-ba400-rank0.pt", "a/checkpoint0003.pth", "a/checkpoint_3_500.pt")
    assert [epoch_of_name(name) for name in (*names, "a/3epoch.pth", "a/last.pt")] == [3, 3, 3, 3, 3, None]


def test_links_count_as_what_they_point_to(tmp_path: Path) -> None:
    run, other = tmp_path / "runs" / "bert", tmp_path / "scratch" / "checkpoint-7"
    (run / "checkpoint-500").mkdir(parents=True)
    other.mkdir(parents=True)
    (run / "last").symlink_to(run / "checkpoint-500")
    (run / "checkpoint-7").symlink_to(other)
    (tmp_path / "runs" / "latest").symlink_to(run)
    (tmp_path / "runs" / "current").symlink_to(run / "checkpoint-500")
    assert run_folder(f"{run}/last/model.pt") == str(run)
    assert run_folder(f"{run}/checkpoint-7/model.pt") == str(run)
    assert run_folder(f"{tmp_path}/runs/current/model.pt") == str(run)
    assert own_folder(f"{tmp_path}/runs/latest/model.pt") is None


def test_the_outermost_folder_is_the_run_where_nothing_else_is() -> None:
    assert run_folder("/checkpoints/step_5.pt") == "/checkpoints"
    assert run_folder("/models/checkpoint-5/model.pt") == "/models"
    assert run_folder("/model.pt") == "/"
