"""The application for any WSGI server: service.wsgi:app."""

import os
import sys

from service.metrics.multiprocess import share_in_the_process_group

share_in_the_process_group()  # before the other imports

from service.app import create_app
from service.errors import AWAY, NO_START, StartupError, StoreAwayError, StoreError
from service.startup import ANNOUNCED

try:
    app = create_app(announce=ANNOUNCED not in os.environ)
except (StartupError, StoreError) as error:
    print(f"twolayernet: {error}", file=sys.stderr, flush=True)
    sys.exit(AWAY if isinstance(error, StoreAwayError) else NO_START)
