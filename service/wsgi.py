"""What gunicorn loads: service.wsgi:app."""

import sys

from service.app import create_app
from service.errors import StartupError, StoreError

GUNICORN_APP_LOAD_ERROR = 4
"""The exit code that tells gunicorn not to try again."""

try:
    app = create_app()
except (StartupError, StoreError) as error:
    print(f"twolayernet: {error}", file=sys.stderr, flush=True)
    sys.exit(GUNICORN_APP_LOAD_ERROR)
