"""Malformed requests by the hundred thousand. `python -m tests.fuzz 100000` sends them and reports."""
