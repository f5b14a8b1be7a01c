"""The append-only log of versions and the database that it lives in."""
