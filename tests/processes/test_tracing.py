"""OpenTelemetry: a request's trace, as a receiver of the protocol gets it from forked workers."""

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import as_json, random_batch
from tests.processes.conftest import MakeServer

X, T = random_batch(1)
pytestmark = pytest.mark.long

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Receiver(ThreadingHTTPServer):
    """Of OTLP over HTTP. spans: (service.name, span) as they come."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiving)
        self.spans: list[tuple[str, Any]] = []


class Receiving(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.server.spans += [(about["service.name"], span) for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("http_server", ["gunicorn", "granian"])
def test_a_request_s_trace_goes_on_from_the_client_s(make_server: MakeServer, receiver: Receiver) -> None:
    pytest.importorskip("opentelemetry.instrumentation.flask", reason="the extra otel is not installed")
    server = make_server(
        workers=2,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{receiver.server_port}",
        OTEL_BSP_SCHEDULE_DELAY="100",
        TWOLAYERNET_API_KEY="secret",
    ).start()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    for _ in range(8):  # each on a connection of its own, so that both workers get some
        assert server.post("/predict", as_json(X), headers=headers).status_code == 200
    assert server.post("/train-step", as_json(X, T), headers=headers).status_code == 401

    def mine() -> list[Any]:
        return [span for _, span in receiver.spans if span.trace_id.hex() == TRACE]

    server.wait_for(lambda: len(mine()) == 9)
    assert {name for name, _ in receiver.spans} == {"twolayernet"}
    assert {span.parent_span_id.hex() for span in mine()} == {PARENT}
    assert {span.name for span in mine()} == {"POST /predict", "POST /train-step"}
    server.wait_for(lambda: TRACE in server.log)  # lines of the log are written in batches


def test_without_the_environment_s_word_nothing_of_it_is_imported(make_server: MakeServer) -> None:
    program = (
        "import sys, os; os.environ['TWOLAYERNET_STORE'] = 'sqlite:///other.db'; from service.wsgi import app\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    server = make_server()
    server.launch([sys.executable, "-c", program])
    assert server.ended() == 0, server.log


def test_a_start_says_that_traces_are_asked_for_and_the_extra_is_missing(make_server: MakeServer) -> None:
    program = (
        "import sys, os; os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] = 'http://127.0.0.1:9'\n"
        "sys.modules['opentelemetry.sdk'] = sys.modules['opentelemetry.instrumentation'] = None; import service.wsgi"
    )
    server = make_server()
    server.launch([sys.executable, "-c", program])
    assert server.ended() == 0, server.log
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is traced" in server.log
