"""One process of several that train together: a script of test_ranks.py, started once a rank.

    rank_worker.py SPREAD DIE_AT ARGUMENTS...

SPREAD is ddp, fsdp or zero2. accelerate has the last two on GPUs alone: here it is told that gloo
joins GPUs and that their name is cpu, and all the rest of it is its own. Before step DIE_AT (from
0; -1 for never) the process kills itself. spread.txt of the run tells what the model was wrapped
in, and whether all its weights are shards.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))


def main(spread: str, die_at: int, arguments: list[str]) -> None:
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    from torch.distributed.tensor import DTensor

    from training.instruct import main as instruct
    from training.trainer import Trainer

    if spread == "ddp":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    else:
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
    step = Trainer._guarded_step

    def watched(trainer: Trainer, stream: object) -> dict[str, float]:
        if trainer.step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        figures = step(trainer, stream)
        weights = list(trainer._model.parameters())
        shards = sum(isinstance(weight, DTensor) for weight in weights)
        with (trainer._run / "spread.txt").open("a") as told:
            told.write(f"{type(trainer._model).__name__} {shards == len(weights)}\n")
        return figures

    Trainer._guarded_step = watched
    instruct(arguments)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
