"""A training job's state at the end of an epoch, so that it can go on as if it had never stopped."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.atomic_file import replacing
from model.safe_npz import NpyError, read_npz
from model.training import Epoch, Trainer, TrainingError
from model.types import PARAMETER_NAMES, Parameters
from model.weights_file import MOST_BYTES, WeightsError, checked_params

PARAMS, STATE, BEST = "params.", "state.", "best."


def save(path: Path, trainer: Trainer) -> None:
    """Raises OSError. A file that exists is replaced whole or not at all."""
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
    with replacing(path) as file:
        file.write(stream.getvalue())


def restore(path: Path, trainer: Trainer) -> None:
    """Bring a new trainer to the state that was saved. Raises OSError, and TrainingError for a checkpoint of a job with
    other data or other options (the number of epochs may differ) and for a file that is not a checkpoint."""
    data = path.read_bytes()
    try:
        _restore(data, path, trainer)
    except TrainingError:
        raise
    except Exception as error:  # a damaged file can be wrong in every way
        reason = str(error) if isinstance(error, NpyError | WeightsError) else type(error).__name__
        raise TrainingError(f"{path} is not a checkpoint: {reason}") from error


def _restore(data: bytes, path: Path, trainer: Trainer) -> None:
    arrays = read_npz(data, MOST_BYTES)
    about = json.loads(str(arrays.pop("about")[()]))
    wanted, found = identity(trainer), {name: about.get(name) for name in identity(trainer)}
    different = [name for name in wanted if json.loads(json.dumps(wanted[name])) != found[name]]
    if different:
        name = different[0]
        raise TrainingError(f"{path} belongs to a job with {name} {found[name]}: this one has {wanted[name]}")
    state = {name: array.copy() for name, array in arrays.items() if name.startswith(STATE)}
    params = trainer.network.params
    if any(array.dtype.kind != "f" or array.shape != params[name[-2:]].shape for name, array in state.items()):
        raise TrainingError(f"{path} is not a checkpoint: its arrays do not fit the network")
    trainer.network.params = params_of(arrays, PARAMS, trainer)
    trainer.optimizer.state = {name.removeprefix(STATE): array for name, array in state.items()}
    trainer.optimizer.iterations = int(about["iterations"])
    trainer.random.bit_generator.state = about["random"]
    trainer.history = [Epoch(**epoch) for epoch in about["history"]]
    if about["best_epoch"] is not None:
        trainer.best = (int(about["best_epoch"]), params_of(arrays, BEST, trainer))


def params_of(arrays: dict[str, NDArray[Any]], prefix: str, trainer: Trainer) -> Parameters:
    """The parameters in a checkpoint. Raises TrainingError where they do not fit the network."""
    params = checked_params({name: arrays[prefix + name] for name in PARAMETER_NAMES})
    if any(params[name].shape != trainer.network.params[name].shape for name in PARAMETER_NAMES):
        raise TrainingError("the checkpoint's arrays do not fit the network")
    return params


def identity(trainer: Trainer) -> dict[str, object]:
    """What two jobs have in common if one of them can go on where the other stopped."""
    options = {name: value for name, value in asdict(trainer.options).items() if name != "epochs"}
    data = trainer.dataset
    options |= {"distort": trainer.distort, "drawn": trainer.drawn}
    return {"dataset": data.name, "images": len(data.train), "data": data.digest, **options}
