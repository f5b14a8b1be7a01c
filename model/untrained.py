"""A network that knows nothing yet, to be taught while it is served."""

from collections.abc import Sequence

import numpy as np

from model.growth import MOST_CLASSES
from model.two_layer_net import Activation, TwoLayerNet
from model.weights_file import MOST_BYTES, Weights, WeightsError, checked_label_names

MOST_HIDDEN = 100_000


def untrained(
    image_shape: tuple[int, int],
    hidden: int,
    classes: int | Sequence[str],
    activation: Activation = "relu",
    seed: int = 0,
    *,
    most_bytes: int = MOST_BYTES,
) -> Weights:
    """image_shape: rows and columns; classes: how many, or their names; most_bytes: limit for the parameters.

    Raises WeightsError.
    """
    outputs = classes if isinstance(classes, int) else len(classes)
    if outputs > MOST_CLASSES:
        raise WeightsError(f"{outputs:,} names: at most {MOST_CLASSES:,} classes")
    named = None if isinstance(classes, int) else checked_label_names(list(classes), outputs)
    inputs = image_shape[0] * image_shape[1]
    if 4 * hidden * (inputs + outputs + 1) > most_bytes:
        raise WeightsError(f"{inputs} inputs and {hidden} hidden units have more than {most_bytes:,} bytes of weights")
    network = TwoLayerNet(
        inputs,
        hidden,
        outputs,
        "he" if activation == "relu" else "xavier",
        seed=seed,
        dtype=np.float32,
        activation=activation,
    )
    return Weights(network.params, activation, image_shape, label_names=named)
