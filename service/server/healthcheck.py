"""`python -m service.server.healthcheck`: exit code 0 if the service in this container can serve."""

import http.client
import os
import sys

SECONDS = 4
ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a service that listens on all addresses is asked. It accepts localhost as the name of the host."""


def main() -> int:
    """The settings are read without pydantic, which takes longer to import than the rest of the check."""
    host, port, prefix = (os.environ.get(f"TWOLAYERNET_{name}", "").strip() for name in ("HOST", "PORT", "PREFIX"))
    host = host.strip("[]")
    connection = http.client.HTTPConnection(ANY_ADDRESS.get(host, host), int(port or 8000), timeout=SECONDS)
    try:
        connection.request("GET", f"{prefix.rstrip('/')}/readyz", headers={"Host": "localhost"})
        answer = connection.getresponse()
        print(answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        print(error)
        return 1
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
