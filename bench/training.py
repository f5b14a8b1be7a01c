"""How long 10,000 iterations take, beside the matrix products alone, a loop as the book writes it, PyTorch and
scikit-learn, in one run on one thread.

784-50-10, batches of 100 images of 784 random pixels, plain gradient descent. `python -m bench.training [ITERATIONS]`;
PyTorch and scikit-learn are measured where they are installed (dependency group `bench`).
"""

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from model.datasets import Dataset, Split
from model.layers import SoftmaxWithLoss
from model.training import Trainer, TrainingOptions
from model.two_layer_net import TwoLayerNet

INPUTS, HIDDEN, CLASSES, BATCH, RATE = 784, 50, 10, 100, 0.1
IMAGES = 60_000


Run = Callable[[], None]


def ours(images: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> Run:
    split = Split(images, labels)
    options = TrainingOptions(optimizer="sgd", shift=0, weight_decay=0, batch_size=BATCH, learning_rate=RATE)
    trainer = Trainer(Dataset("random", split, split, (28, 28)), options)
    trainer.optimizer.learning_rate = RATE

    def run() -> None:
        for batch in batches:
            trainer.step(batch)

    return run


def matrix_products(images: np.ndarray, _: np.ndarray, batches: np.ndarray) -> Run:
    """The five products of a step, into arrays that are there already, on batches that need not be gathered."""
    x = images[: BATCH * 100].astype(np.float32) / 255
    params = TwoLayerNet(INPUTS, HIDDEN, CLASSES, "he", seed=0, dtype=np.float32).params
    w1, w2 = params["W1"], params["W2"]
    hidden, back = np.ones((BATCH, HIDDEN), np.float32), np.ones((BATCH, HIDDEN), np.float32)
    logits = np.ones((BATCH, CLASSES), np.float32)
    out = [np.empty(shape, np.float32) for shape in (hidden.shape, logits.shape, hidden.shape, w2.shape, w1.shape)]

    def run() -> None:
        for i in range(len(batches)):
            batch = x[i % 100 * BATCH : (i % 100 + 1) * BATCH]
            np.matmul(batch, w1, out=out[0])
            np.matmul(hidden, w2, out=out[1])
            np.matmul(logits, w2.T, out=out[2])
            np.matmul(hidden.T, logits, out=out[3])
            np.matmul(batch.T, back, out=out[4])

    return run


def as_the_book_writes_it(images: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> Run:
    """float64 weights from float32 images, one-hot labels, the gradient and then the loss once more."""
    x, t = images.astype(np.float32) / 255, np.eye(CLASSES)[labels]
    network = TwoLayerNet(INPUTS, HIDDEN, CLASSES, seed=0)

    def run() -> None:
        for batch in batches:
            gradient = network.gradient(x[batch], t[batch])
            for name in network.params:
                network.params[name] -= RATE * gradient[name]
            SoftmaxWithLoss().forward(network.predict(x[batch]), t[batch])

    return run


def pytorch(images: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> Run:
    import torch

    torch.set_num_threads(1)
    x, t = torch.from_numpy(images.astype(np.float32) / 255), torch.from_numpy(labels.astype(np.int64))
    network = torch.nn.Sequential(torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES))
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    loss_function = torch.nn.CrossEntropyLoss()

    def run() -> None:
        for batch in torch.from_numpy(batches):
            optimizer.zero_grad()
            loss_function(network(x[batch]), t[batch]).backward()
            optimizer.step()

    return run


def scikit_learn(images: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> Run:
    from sklearn.neural_network import MLPClassifier

    used = np.resize(np.arange(IMAGES), BATCH * len(batches) // 10)
    x, t = images[used].astype(np.float32) / 255, labels[used]
    classifier = MLPClassifier(
        (HIDDEN,), solver="sgd", alpha=0, momentum=0, batch_size=BATCH, learning_rate_init=RATE, max_iter=10, tol=0,
        n_iter_no_change=100, random_state=0,
    )  # fmt: skip

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged
            classifier.fit(x, t)

    return run


CONTENDERS: list[Callable[[np.ndarray, np.ndarray, np.ndarray], Run]] = [
    matrix_products, ours, scikit_learn, pytorch, as_the_book_writes_it,
]  # fmt: skip


def main() -> None:
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES, INPUTS), dtype=np.uint8)
    labels = random.integers(0, CLASSES, IMAGES).astype(np.uint8)
    batches = random.integers(0, IMAGES * 9 // 10, (iterations, BATCH))
    seconds: dict[str, float] = {}
    for contender in CONTENDERS:
        times = []
        try:
            contender(images, labels, batches[:200])()
            for _ in range(2):
                run = contender(images, labels, batches)
                started = time.process_time()
                run()
                times.append(time.process_time() - started)
        except ImportError as error:
            print(f"{contender.__name__}: {error.name} is not installed")
            continue
        seconds[contender.__name__] = min(times)
    print(f"| {iterations:,} iterations | CPU s | to the matrix products |\n| --- | ---: | ---: |")
    for name, spent in seconds.items():
        print(f"| {name.replace('_', ' ')} | {spent:.2f} | {spent / seconds['matrix_products']:.2f} |")


if __name__ == "__main__":
    main()
