"""Where requirements/browser.txt is not installed these tests are not there: `.ci/browser` installs it."""

from importlib.util import find_spec

NEEDED = ("playwright", "axe_playwright_python", "openapi_python_client", "schemathesis")

collect_ignore = (
    [] if all(map(find_spec, NEEDED)) else ["test_generated_client.py", "test_playground.py", "test_strangers.py"]
)
