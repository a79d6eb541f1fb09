"""Print the recipe's numbers beside Milepost's: `python examples/slim/side_by_side.py [FOLDER OF CHECKPOINTS]`.

Without a folder it trains its own checkpoints first. Exits with 1 where two numbers that should agree do not.
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

warnings.filterwarnings("ignore", module=r"(tensorflow|tf_slim)(\.|$)")  # what its own layers say of one another

import article  # noqa: E402 - after the filter
import eval_slim  # noqa: E402 - the same
from digits import tf, trained, validation  # noqa: E402 - the same

from milepost.compat import slim  # noqa: E402 - the same

SIZES = (36, 64, 100, 359)
N = len(validation[1])
LINE = "{:>5}  {:<10}" + "  {:>9}" * len(SIZES) + "  {:>9}  {:>7}  {:>9}"


def batches(size: int) -> Iterator[Any]:
    """Yield (images, labels), the last batch as short as it comes."""
    for start in range(0, N, size):
        yield tuple(item[start : start + size] for item in validation)


def shown(numbers: list[float]) -> list[str]:
    return [f"{number:.6f}" for number in numbers]


def main(folder: str) -> int:
    """Print the table, and the gaps."""
    prefixes = list(slim.evaluation.checkpoints_iterator(folder, timeout=0))
    with tempfile.TemporaryDirectory() as store:
        results = eval_slim.evaluation.run(folder, store=store)
        means = {
            (record["checkpoint"]["step"], record["batch_size"]): record["value"]
            for record in results.batch_means(*SIZES)
            if record["metric"] == "top1"
        }
        steps = sorted({step for step, _ in means})
        exact = {step: (results.value("top1", step=step), results.value("top5", step=step)) for step in steps}
    print(f"Top-1 accuracy on {N} digits: the mean over batches of four sizes, and the value over all rows\n")
    print(LINE.format("step", "", *(f"of {size}" for size in SIZES), "all rows", "right", "top-5"))
    wrong, gaps = 0, []
    for step, prefix in zip(steps, prefixes, strict=True):
        recipe = [article.mean_of_batches(prefix, batches(size)) for size in SIZES]
        counted = {article.streaming(prefix, batches(size)) for size in (36, 359)}
        third = article.both(prefix, batches(100))
        top1, top5 = exact[step]
        print(LINE.format(step, "recipe", *shown([*recipe, third["streaming"]]), "", f"{third['top5']:.6f}"))
        ours = [means[step, size] for size in SIZES]
        print(LINE.format("", "Milepost", *shown([*ours, top1]), round(top1 * N), f"{top5:.6f}"))
        wrong += any(abs(a - b) > 1e-6 for a, b in zip(recipe, ours, strict=True))  # the recipe's mean is of float32
        wrong += counted != {top1} or third["streaming"] != top1 or third["top5"] != top5
        gaps += [(abs(mean - top1), mean - top1, step, size) for mean, size in zip(ours, SIZES, strict=True)]
    _, gap, step, size = max(gaps)
    print(
        f"\nThe widest gap between a mean over batches and the truth: {gap:+.6f}, at step {step} in batches of {size}, "
        f"whose last holds {N % size or size}."
    )
    print(
        f"The streaming value is the exact one for every batch size; {wrong or 'no'} numbers that should agree differ."
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    tf.logging.set_verbosity(tf.logging.ERROR)
    if len(sys.argv) > 1:
        sys.exit(main(os.path.abspath(sys.argv[1])))
    with tempfile.TemporaryDirectory() as made:
        sys.exit(main(trained(made)))
