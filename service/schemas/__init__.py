"""Requests, answers and their fields, as pydantic models."""
