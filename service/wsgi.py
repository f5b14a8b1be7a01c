"""The application for any WSGI server: service.wsgi:app."""

import sys

from service.app import create_app
from service.errors import StartupError, StoreError

APP_LOAD_ERROR = 4
"""gunicorn's exit code for it, which keeps its master from trying again."""

try:
    app = create_app()
except (StartupError, StoreError) as error:
    print(f"twolayernet: {error}", file=sys.stderr, flush=True)
    sys.exit(APP_LOAD_ERROR)
