"""The application for any WSGI server: service.wsgi:app."""

import os
import sys

from service.counting import share_in_the_process_group

share_in_the_process_group()  # before the rest is imported

from service.app import create_app
from service.errors import AWAY, NO_START, StartupError, StoreAwayError, StoreError
from service.startup import SAID

try:
    app = create_app(say=SAID not in os.environ)
except (StartupError, StoreError) as error:
    print(f"twolayernet: {error}", file=sys.stderr, flush=True)
    sys.exit(AWAY if isinstance(error, StoreAwayError) else NO_START)
