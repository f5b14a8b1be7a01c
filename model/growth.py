"""A network of one class more."""

from dataclasses import replace

import numpy as np

from model.weights_file import Weights

MOST_CLASSES = 1000


def grown(weights: Weights, label_name: str | None = None) -> Weights:
    """The weights with a class more, the last one. It has no connections yet and the smallest bias, so that a trained
    network hardly ever answers it until it is taught (`python -m bench.classes`). The memory stays, and `training` no
    longer describes the weights.

    label_name: its name, if the classes have names.
    """
    w2, b2 = weights.params["W2"], weights.params["b2"]
    params = {
        **weights.params,
        "W2": np.concatenate([w2, np.zeros((len(w2), 1), w2.dtype)], axis=1),
        "b2": np.append(b2, b2.min()),
    }
    names = weights.label_names if label_name is None else (*(weights.label_names or ()), label_name)
    return replace(weights, params=params, label_names=names, training={})
