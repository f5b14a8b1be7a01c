"""Print a request body of handwritten digits that the network was not trained on: validation images, which may be
learnt without making the test images worth less."""

import argparse
import json

from model.datasets import packaged_digits
from model.datasets.splits import validation_split

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("count", type=int, nargs="?", default=2)
parser.add_argument("--labels", action="store_true", help="with the labels, for /accuracy and /train-step")
options = parser.parse_args()

validation, _ = validation_split(packaged_digits().train)
every = max(1, len(validation) // options.count)
body = {"images": validation.images[::every][: options.count].tolist(), "pixel_max": 255}
if options.labels:
    body["labels"] = validation.labels[::every][: options.count].tolist()
print(json.dumps(body))
