"""Pictures of a training job: learning curves, confusion matrix, first layer, worst mistakes, training material."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from model.datasets.dataset import Dataset
from model.functions import confusion_matrix, softmax
from model.training import Epoch, Trainer, as_input
from model.types import FloatArray, IntArray
from model.weights_file import Weights

MOST_UNITS_SHOWN = 100
MISTAKES_SHOWN = 24
IN_A_ROW, DISTORTED_ROWS = 16, 5
INK, ACCENT = "#1f4e79", "#c0504d"


def write_report(folder: Path, weights: Weights, trainer: Trainer) -> list[Path]:
    """Write report.json and PNG pictures, and return their paths. Raises OSError."""
    dataset, history = trainer.dataset, trainer.history
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    x, t = as_input(dataset.test)
    network = weights.network()
    probabilities = softmax(network.predict(x))
    matrix = confusion_matrix(probabilities.argmax(axis=1), t, weights.output_size)
    figures = {
        "dataset": dataset.name,
        "test_images": len(t),
        "test_accuracy": network.accuracy(x, t),
        "test_loss": network.loss(x, t),
        "training": weights.training,
        "history": [asdict(epoch) for epoch in history],
        "confusion_matrix": matrix.tolist(),
        "recall": [float(row[i] / row.sum()) if row.sum() else None for i, row in enumerate(matrix)],
    }
    written = [folder / "report.json"]
    written[0].write_text(json.dumps(figures, indent=1) + "\n")
    pictures: dict[str, Any] = {"confusion_matrix.png": draw_confusion_matrix(matrix)}
    if history:
        pictures["learning_curves.png"] = draw_learning_curves(history)
    if weights.image_shape is not None:
        pictures["first_layer.png"] = draw_first_layer(weights)
        pictures["mistakes.png"] = draw_mistakes(dataset, probabilities, t)
    if trainer.drawn:
        pictures["drawn_digits.png"] = draw_drawn_digits(trainer)
    if trainer.distort or trainer.options.rotate:
        pictures["distorted.png"] = draw_distorted(trainer)
    for name, figure in pictures.items():
        figure.savefig(folder / name, dpi=130, bbox_inches="tight")
        written.append(folder / name)
    return written


def draw_learning_curves(history: list[Epoch]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [epoch.number for epoch in history]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [epoch.loss for epoch in history], color=INK, marker="o", markersize=3)
    loss.set(title="Loss of the training batches", xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    accuracy.plot(epochs, [epoch.validation_accuracy for epoch in history], color=ACCENT, marker="o", markersize=3)
    accuracy.set(title="Accuracy on validation images", xlabel="epoch")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_confusion_matrix(matrix: IntArray) -> Any:
    """Counts; the colour is the share of the true class, with mistakes drawn ten times as strong as correct answers."""
    from matplotlib.figure import Figure

    classes = len(matrix)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(2 + classes * 0.42,) * 2, layout="constrained")
    axes = figure.subplots()
    off_diagonal = ~np.eye(classes, dtype=bool)
    axes.imshow(np.where(off_diagonal, np.minimum(share * 10, 1), 0), cmap="Reds", vmin=0, vmax=1)
    axes.imshow(np.where(off_diagonal, np.nan, share), cmap="Blues", vmin=0, vmax=1.6)
    for row in range(classes):
        for column in range(classes):
            if matrix[row, column]:
                axes.text(column, row, matrix[row, column], ha="center", va="center", fontsize=8)
    axes.set(title="Confusion matrix of the test images", xlabel="predicted", ylabel="true class")
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    return figure


def draw_first_layer(weights: Weights) -> Any:
    """The weights of each hidden unit: blue pixels raise its value, red ones lower it."""
    assert weights.image_shape is not None
    units = weights.params["W1"].T[:MOST_UNITS_SHOWN]
    figure, grid = tiles(len(units), 10, 0.85)
    for axes, unit in zip(grid, units, strict=False):
        most = float(np.abs(unit).max()) or 1.0
        axes.imshow(unit.reshape(weights.image_shape), cmap="RdBu", vmin=-most, vmax=most)
    more = weights.hidden_size - len(units)
    figure.suptitle(f"First-layer weights of the {'first ' if more else ''}{len(units)} hidden units")
    return figure


def draw_mistakes(dataset: Dataset, probabilities: FloatArray, t: IntArray) -> Any:
    """The test images that were classified wrongly with the highest probability."""
    predicted = probabilities.argmax(axis=1)
    confidence = np.where(predicted == t, -1, probabilities.max(axis=1))
    worst = [int(i) for i in confidence.argsort()[::-1][:MISTAKES_SHOWN] if confidence[i] > 0]
    figure, grid = tiles(max(len(worst), 1), 8, 1.35)
    for axes, i in zip(grid, worst, strict=False):
        axes.imshow(dataset.test.images[i].reshape(dataset.image_shape), cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(f"{t[i]} read as {predicted[i]}\n{confidence[i]:.1%}", fontsize=8)
    figure.suptitle("Most confidently wrong" if worst else "No test image was classified wrongly")
    return figure


def draw_drawn_digits(trainer: Trainer) -> Any:
    """The same number of each class, so that its forms can be seen."""
    drawn = np.arange(trainer.real, len(trainer.t))
    shown = np.concatenate([drawn[trainer.t[drawn] == digit][:IN_A_ROW] for digit in range(10)])
    figure, grid = tiles(len(shown), IN_A_ROW, 0.6)
    for axes, i in zip(grid, shown, strict=False):
        axes.imshow(trainer.images[i].reshape(trainer.dataset.image_shape), cmap="gray_r", vmin=0, vmax=255)
    figure.suptitle(f"Some of the {trainer.drawn:,} digits drawn by code")
    return figure


def draw_distorted(trainer: Trainer) -> Any:
    """A row of training images, and below each of them what several distortions make of it."""
    random = np.random.default_rng(0)
    some = random.choice(len(trainer.t), IN_A_ROW)
    rows = [trainer.images[some] / 255]
    for _ in range(DISTORTED_ROWS):
        distortions = trainer.some_distortions(random)
        assert distortions is not None
        rows += [np.concatenate([distortions(trainer.images[[i]], random) for i in some])]
    figure, grid = tiles(len(rows) * IN_A_ROW, IN_A_ROW, 0.6)
    for axes, image in zip(grid, np.concatenate(rows), strict=True):
        axes.imshow(image.reshape(trainer.dataset.image_shape), cmap="gray_r", vmin=0, vmax=1)
    figure.suptitle("Training images, and distortions of them")
    return figure


def tiles(count: int, columns: int, inches: float) -> tuple[Any, Any]:
    """A figure of `count` small pictures, and their axes."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(columns * inches, 4.5), rows * inches + 0.6), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.axis("off")
    return figure, grid
