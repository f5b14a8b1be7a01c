"""/v2: the Open Inference Protocol of KServe's, Triton's and MLServer's clients."""

from service.routes.open_inference.routes import MODEL, ServerEndpoint, blueprint, error_answer

__all__ = ["MODEL", "ServerEndpoint", "blueprint", "error_answer"]
