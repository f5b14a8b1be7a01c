"""`python -m service.server.healthcheck`: exit code 0 when the service in this container can serve."""

import http.client
import os
import sys

SECONDS = 4


def main() -> int:
    port = int(os.environ.get("TWOLAYERNET_PORT", "").strip() or 8000)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", f"{os.environ.get('TWOLAYERNET_PREFIX', '').strip().rstrip('/')}/readyz")
        answer = connection.getresponse()
        print(answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        print(error)
        return 1
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
