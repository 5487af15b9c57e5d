"""The same loop on many machines, by Ray Data.

Each worker holds a Sight and an Annotator and takes a handful of images at a time; this process
alone writes the journal. The folder must be found under the same path on every machine, and the
service's key in every machine's environment.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contextface_ros.errors import BadInput, MissingDependency
from contextface_ros.types import Emotion
from training.augment.annotator import AnnotatorSpec, open_annotator
from training.augment.ask import Failure, Outcome, ask, ask_all
from training.augment.folder import LabelledImage
from training.augment.journal import entry_event, read_entry
from training.augment.run import Run
from training.augment.sight import Sight

LOCAL = "local"
"""The address that starts a Ray of its own on this machine."""


class Worker:
    """What runs in a worker of Ray: rows of images in, rows of outcomes out."""

    def __init__(
        self, spec: AnnotatorSpec, sight: str, longest_side: int, concurrency: int
    ) -> None:
        """Raises what Sight and `open_annotator` raise."""
        self._loop = asyncio.new_event_loop()
        self._sight = Sight(sight, longest_side)
        self._annotator = open_annotator(spec)
        self._concurrency = concurrency

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ask about each image of a batch, `concurrency` at a time."""
        rows = [dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True)]
        return {"outcome": self._loop.run_until_complete(self._ask(rows))}

    async def _ask(self, rows: list[dict[str, Any]]) -> list[str]:
        digests = {row["name"]: str(row["digest"]) for row in rows}
        images = [
            LabelledImage(
                Path(row["path"]), str(row["name"]), str(row["sha256"]), Emotion(row["emotion"])
            )
            for row in rows
        ]
        outcomes = ask_all(
            images,
            lambda image: ask(image, digests[image.name], self._sight, self._annotator),
            self._concurrency,
        )
        return [_dump(outcome) async for outcome in outcomes]


def ask_with_ray(run: Run, longest_side: int, concurrency: int, address: str, workers: int) -> None:
    """Ask about all that is left from the workers of a Ray cluster.

    Args:
        run: takes the outcomes.
        longest_side: of the pictures.
        concurrency: requests at a time of each worker.
        address: of the cluster; LOCAL starts one on this machine.
        workers: how many of them.

    Raises:
        MissingDependency: Ray is not installed.
        BadInput: there is no cluster at this address, or a worker could not start.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependency("pip install -r requirements/augment.txt") from error
    todo = run.todo()
    if not todo:
        return
    Sight(run.sight, longest_side)  # what a worker could not have is said here, in one sentence
    asyncio.run(open_annotator(run.spec).close())
    _connect(ray, address)
    try:
        for outcome in _outcomes(ray, run, todo, longest_side, concurrency, workers):
            run.take(outcome)
            if run.stopped:
                break
    except ray.exceptions.RayError as error:
        raise BadInput(f"Ray stopped: {str(error).strip().splitlines()[-1]}") from error
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    import contextface_ros
    import training

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of its own making
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody else need know
    # The workers get this very code with the job.
    modules = [str(Path(module.__path__[0]).resolve()) for module in (contextface_ros, training)]
    try:
        ray.init(
            address=address,
            runtime_env={"py_modules": modules},
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise BadInput(f"no Ray cluster answers at {address}: {error}") from error


def _outcomes(
    ray: Any,
    run: Run,
    todo: list[LabelledImage],
    longest_side: int,
    concurrency: int,
    workers: int,
) -> Iterator[Outcome]:
    rows = [
        {
            "path": str(image.path.resolve()),
            "name": image.name,
            "sha256": image.sha256,
            "emotion": image.emotion.value,
            "digest": run.digest(image),
        }
        for image in todo
    ]
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False  # there is one already
    # A block is what comes back at once, and so what a killed run can lose: as small as can be.
    blocks = -(-len(rows) // concurrency)
    outcomes = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        Worker,
        fn_constructor_args=(run.spec, run.sight, longest_side, concurrency),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
    )
    for row in outcomes.iter_rows():
        yield _load(row["outcome"])


def _dump(outcome: Outcome) -> str:
    if isinstance(outcome, Failure):
        return json.dumps(
            {"event": "failure", "digest": outcome.digest, "why": outcome.why}
            | {"hopeless": outcome.hopeless}
        )
    return json.dumps(entry_event(outcome))


def _load(text: str) -> Outcome:
    event = json.loads(text)
    if event["event"] == "failure":
        return Failure(event["digest"], event["why"], event["hopeless"])
    return read_entry(event)
