"""OpenTelemetry, where the extra `otel` is installed and the environment names an exporter.

OpenTelemetry's packages read its standard variables themselves (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, …).
Nothing of them is imported unless one of `EXPORTERS` is set.
"""

import os
from importlib.util import find_spec

from flask import Flask

EXPORTERS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
PACKAGES = ("opentelemetry.exporter.otlp.proto.http", "opentelemetry.instrumentation.flask", "opentelemetry.sdk")


def requested_by() -> str | None:
    """The variable that asks for traces, if one does."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    return next((name for name in EXPORTERS if os.environ.get(name)), None)


def is_installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in PACKAGES)
    except ModuleNotFoundError:  # find_spec imports the parent package
        return False


def why_not() -> str | None:
    """A line for the operator if traces are requested but the extra is missing."""
    if (name := requested_by()) is None or is_installed():
        return None
    return f"{name} is set, but nothing is traced: install the extra otel (twolayernet-service[otel])"


def register(app: Flask) -> None:
    """Before all other hooks, so that requests that they refuse are traced as well."""
    if requested_by() is None or not is_installed():
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not isinstance(trace.get_tracer_provider(), TracerProvider):  # `opentelemetry-instrument` has set one
        if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
            os.environ.setdefault("OTEL_SERVICE_NAME", "twolayernet")
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))  # restarts in each forked worker
        trace.set_tracer_provider(provider)
    FlaskInstrumentor.instrument_app(app)
