"""The model that learns while it is served."""
