"""OpenTelemetry, where the extra `otel` is installed and the environment says where traces go.

Its standard variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so on) are read by its
own packages, of which nothing is imported without one of `WANTED`.
"""

import os
from importlib.util import find_spec

from flask import Flask

WANTED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
NEEDED = ("opentelemetry.exporter.otlp.proto.http", "opentelemetry.instrumentation.flask", "opentelemetry.sdk")
SERVICE_NAME = "OTEL_SERVICE_NAME"


def wanted_by() -> str | None:
    """The variable that asks for traces, if one does."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get(WANTED[-1]) == "none":
        return None
    return next((name for name in WANTED if os.environ.get(name)), None)


def is_installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in NEEDED)
    except ModuleNotFoundError:  # not even the package around it
        return False


def why_not() -> str | None:
    """A line for the operator, where traces are asked for and can't be had."""
    if (name := wanted_by()) is None or is_installed():
        return None
    return f"{name} is set, but nothing is traced: that needs the extra otel (twolayernet-service[otel])"


def register(app: Flask) -> None:
    """Before all other looks at a request, so that what they refuse is traced, too."""
    if wanted_by() is None or not is_installed():
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not isinstance(trace.get_tracer_provider(), TracerProvider):  # as under `opentelemetry-instrument`
        if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
            os.environ.setdefault(SERVICE_NAME, "twolayernet")
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # begins anew in each forked worker
        trace.set_tracer_provider(provider)
    FlaskInstrumentor.instrument_app(app)
