"""The application for any WSGI server: service.wsgi:app."""

import os
import sys

from service.app import create_app
from service.errors import StartupError, StoreError

APP_LOAD_ERROR = 4
"""gunicorn's exit code for it, which keeps its master from trying again."""
SAID = "_TWOLAYERNET_SAID"
"""In the environment of a server's workers, whose parent has said already what is served."""

try:
    app = create_app(say=SAID not in os.environ)
except (StartupError, StoreError) as error:
    print(f"twolayernet: {error}", file=sys.stderr, flush=True)
    sys.exit(APP_LOAD_ERROR)
