"""A predict of the same network as a few lines of FastAPI, to compare with. weights.npz is in the working directory."""

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
weights = dict(np.load("weights.npz", allow_pickle=False))


class Images(BaseModel):
    images: list[list[float]]


@app.post("/predict")
async def predict(body: Images) -> dict[str, object]:
    x = np.array(body.images, np.float32)
    logits = np.maximum(x @ weights["W1"] + weights["b1"], 0) @ weights["W2"] + weights["b2"]
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponential / exponential.sum(axis=1, keepdims=True)
    return {"labels": logits.argmax(axis=1).tolist(), "probabilities": probabilities.tolist()}


@app.get("/readyz")
async def readyz() -> dict[str, object]:
    return {}
