"""Where requirements/browser.txt is not installed these tests are not there: `.ci/browser` installs it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("playwright") and find_spec("axe_playwright_python") else ["test_playground.py"]
