"""Print a request body of handwritten digits that the network was not trained on."""

import argparse
import json

from model.datasets import packaged_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("count", type=int, nargs="?", default=2)
parser.add_argument("--labels", action="store_true", help="with the labels, for /accuracy and /train-step")
options = parser.parse_args()

test = packaged_digits().test
every = len(test) // options.count
body = {"images": test.images[::every][: options.count].tolist(), "pixel_max": 255}
if options.labels:
    body["labels"] = test.labels[::every][: options.count].tolist()
print(json.dumps(body))
