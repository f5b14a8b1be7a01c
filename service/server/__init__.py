"""The HTTP servers, gunicorn and Granian: their settings, and how they are started."""
