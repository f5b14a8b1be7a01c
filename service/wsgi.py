"""The application for any WSGI server: service.wsgi:app."""

import os
import sys

from service.counting import share

# Before the rest is imported. What the workers of a server have in common that was started by hand is their parent.
share(os.getppid())

from service.app import create_app
from service.errors import StartupError, StoreAwayError, StoreError
from service.exit_codes import AWAY, NO_START
from service.startup import SAID

try:
    app = create_app(say=SAID not in os.environ)
except (StartupError, StoreError) as error:
    print(f"twolayernet: {error}", file=sys.stderr, flush=True)
    sys.exit(AWAY if isinstance(error, StoreAwayError) else NO_START)
