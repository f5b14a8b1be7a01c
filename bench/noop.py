"""A Flask endpoint that reads the body and does nothing: the ceiling that Flask and gunicorn set."""

from flask import Flask, request

app = Flask(__name__)


@app.post("/noop")
def noop() -> bytes:
    request.get_data(cache=False)
    return b"{}"


@app.get("/readyz")
def readyz() -> bytes:
    return b"{}"
