"""The usual three functions as one script: `python functions.py runs/digits`.

The mean over batches, the streaming accuracy, and both side by side, with top-1 and top-5, of every checkpoint.
"""

import sys

from eval_slim import evaluation

results = evaluation.run(sys.argv[1])
means = {(item["checkpoint"]["step"], item["metric"]): item["value"] for item in results.batch_means(100)}
print("step  metric  mean of batches  streaming")
for (step, metric), mean in sorted(means.items()):
    if metric != "cross_entropy":
        print(f"{step:4}  {metric:6}  {mean:15.6f}  {results.value(metric, step=step):9.6f}")
