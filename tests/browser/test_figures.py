"""What the page says of how well the network does."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.browser.fixtures import newest
from tests.browser.tab import Tab
from tests.browser.test_acts import keep, train
from tests.processes.server import Server

pytestmark = pytest.mark.browser


def test_what_was_chosen_by_its_uncertainty_is_counted_apart(tab: Callable[..., Tab], served: Server) -> None:
    train(served, 2)
    mine = tab()
    mine.says("#figures", "Of the last")
    before = mine.page.locator("#figures").inner_text()
    counted = served.get("/learning").json()["chosen"]["count"]
    keep(served, 1)
    mine.says("#queue-text", "What is it?")
    mine.label(7)
    mine.says("#figures-other", f"Of {counted + 1} that were labelled because it was unsure,")
    expect(mine.page.locator("#figures")).to_have_text(before)


def test_answers_without_labels_and_a_change_are_told_and_a_class_is_a_column(
    tab: Callable[..., Tab], served: Server
) -> None:
    train(served, 3)

    def answer(route: Route) -> None:
        got = route.fetch()
        learning = got.json()
        counts = {"count": 100, "pictures": 50}
        learning["unlabelled"] = {
            "since_version": 1,
            "first": {"confidence": 0.955, "refused": 0.02, **counts},
            "last": {"confidence": 0.61, "refused": 0.3, **counts},
        }
        learning["alarm"]["changed"] = {"model_version": 2, "examples": 40}
        route.fulfill(response=got, json=learning)

    mine = tab()
    expect(mine.page.locator("#figures-other")).not_to_contain_text("changed")
    mine.page.route("**/learning", answer)
    mine.page.reload()
    told = "It is sure of its last answers at 61.0 % (first 95.5 %), and refused 30.0 % of the pictures (first 2.0 %)."
    mine.says("#figures-other", told)
    mine.says("#figures-other", "Something has changed since version 2.")
    windows = served.get("/learning").json()["windows"]
    known = [one for one in windows[-1]["by_class"] if one["count"]]
    columns = mine.page.locator("#by-class li")
    expect(columns).to_have_count(len(known))
    expect(columns.first).to_have_attribute(
        "title", f"{known[0]['label']}: {known[0]['accuracy']:.1%} of".replace("%", "\u00a0%") + f" {known[0]['count']}"
    )
    mine.page.select_option("#language", "de")
    mine.says("#figures-other", "Seit Version 2 ist etwas anders.")
    mine.says("#version", str(newest(served)))
