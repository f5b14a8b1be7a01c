"""A training job's state at the end of an epoch, so that it can go on as if it had never stopped."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from model.npy import NpyError, read_npz
from model.training import Epoch, Trainer, TrainingError
from model.types import PARAMETER_NAMES
from model.weights import MOST_BYTES, write_whole

PARAMS, STATE, BEST = "params.", "state.", "best."


def save(path: Path, trainer: Trainer) -> None:
    """Raises OSError. What was there before is replaced whole or not at all."""
    arrays = {PARAMS + name: array for name, array in trainer.network.params.items()}
    arrays |= {STATE + name: array for name, array in trainer.optimizer.state.items()}
    if trainer.best is not None:
        arrays |= {BEST + name: array for name, array in trainer.best[1].items()}
    about = {
        **identity(trainer),
        "history": [asdict(epoch) for epoch in trainer.history],
        "random": trainer.random.bit_generator.state,
        "iterations": trainer.optimizer.iterations,
        "best_epoch": None if trainer.best is None else trainer.best[0],
    }
    stream = io.BytesIO()
    np.savez(stream, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    write_whole(path, stream.getvalue())


def restore(path: Path, trainer: Trainer) -> None:
    """Bring a new trainer to where the saved one was. Raises OSError, and TrainingError for a checkpoint of a job with
    other data or other options, the number of epochs apart, and for what is no checkpoint."""
    try:
        arrays = read_npz(path.read_bytes(), MOST_BYTES)
        about = json.loads(str(arrays.pop("about")[()]))
    except (NpyError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is not a checkpoint: {error}") from error
    wanted, found = identity(trainer), {name: about.get(name) for name in identity(trainer)}
    different = [name for name in wanted if json.loads(json.dumps(wanted[name])) != found[name]]
    if different:
        name = different[0]
        raise TrainingError(f"{path} is of a job with {name} {found[name]}: this one has {wanted[name]}")
    trainer.network.params = {name: arrays[PARAMS + name].copy() for name in PARAMETER_NAMES}
    state = {name.removeprefix(STATE): array.copy() for name, array in arrays.items() if name.startswith(STATE)}
    trainer.optimizer.state = state
    trainer.optimizer.iterations = about["iterations"]
    trainer.random.bit_generator.state = about["random"]
    trainer.history = [Epoch(**epoch) for epoch in about["history"]]
    if about["best_epoch"] is not None:
        trainer.best = (about["best_epoch"], {name: arrays[BEST + name].copy() for name in PARAMETER_NAMES})


def identity(trainer: Trainer) -> dict[str, object]:
    """What has to be the same for a job to be the same job."""
    options = {name: value for name, value in asdict(trainer.options).items() if name != "epochs"}
    data = trainer.dataset
    return {"dataset": data.name, "images": len(data.train), "pixels": data.train.images.shape[1], **options}
