"""The whole way through the page in a real browser, with no word left to the network."""

import re
from pathlib import Path

import pytest

from theriac.provenance import SigningKey
from theriac.web import open_battery

from .conftest import served

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        path = str(CHROMIUM) if CHROMIUM.exists() else None
        try:
            opened = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("there is no Chromium")
        yield opened
        opened.close()


@pytest.fixture
def view(browser, address):
    """A page of the site that fails the test if it complains, or asks for anything elsewhere."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints, elsewhere = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith(address) or elsewhere.append(request.url))
    page.goto(address)
    yield page
    assert (complaints, elsewhere) == ([], [])
    page.close()


def test_evidence_is_shown_and_a_claim_changes_the_answer(view):
    expect = playwright.expect
    view.get_by_role("link", name="Parking signs").click()
    expect(view.locator(".verdict")).to_contain_text("No evidence")
    view.get_by_role("link", name="Traffic signs").click()
    expect(view.locator(".verdict")).to_contain_text("Poisoned")
    expect(view.locator(".claim")).to_contain_text("a yellow patch in the corner")
    expect(view.locator(".part-alarming")).to_contain_text("National speed limit")
    assert view.locator("li.hot > .part .role").all_inner_texts() == [
        "System in use",
        "Configuration",
        "Training run",
        "Data pack",
        "Data set",
    ]

    view.get_by_role("link", name="Parking signs").click()
    form = view.locator("form[action^='/attest']")
    form.get_by_label("About").select_option(label="Data set: No parking")
    form.get_by_label("In what way").fill("mislabelling attack")
    form.get_by_label("What was seen").fill("no stopping is no parking")
    form.get_by_role("button").click()
    expect(view.locator(".verdict")).to_contain_text("Poisoned")
    expect(view.locator(".verdict")).to_be_in_viewport()
    expect(view.locator(".part-alarming")).to_contain_text("No parking")
    expect(view.locator(".claim")).to_contain_text("added here")

    view.get_by_role("button", name="Retract").click()
    expect(view.locator(".verdict")).to_contain_text("No evidence")
    expect(view.locator(".claim")).to_contain_text("does not count")
    expect(view.locator(".part-alarming")).to_have_count(0)


def test_questions_are_asked_in_words(view):
    expect = playwright.expect
    view.get_by_role("link", name="Traffic signs").click()
    # The form of the page before stands until the answer is there, and would lose what is chosen in it.
    expect(view.locator(".verdict")).to_contain_text("Poisoned")
    expect(view.get_by_label("Compared with")).to_be_hidden()
    view.locator("select[name=query]").select_option(label="Are these the system's weights?")
    expect(view.get_by_label("Compared with")).to_be_visible()
    view.get_by_label("Compared with").fill("00" * 32)
    view.get_by_role("button", name="Ask").click()
    expect(view.locator(".verdict")).to_contain_text("The credentials say otherwise")
    view.locator("select[name=query]").select_option(label="Is there evidence that its data are polluted?")
    view.get_by_role("button", name="Ask").click()
    expect(view).to_have_url(re.compile("data-pollution"))
    expect(view.locator(".claim")).to_contain_text("unsigned: anybody can have written it")
    view.get_by_label("TAIBOM’s rules").check()
    view.get_by_role("button", name="Ask").click()
    expect(view).to_have_url(re.compile("mode=taibom"))
    view.go_back()
    expect(view).to_have_url(re.compile("data-pollution.*mode=extended"))


def test_each_part_leads_to_its_credential(view):
    expect = playwright.expect
    view.get_by_role("link", name="Traffic signs").click()
    view.locator(".part-alarming").click()
    expect(view.get_by_role("heading", level=1)).to_have_text("National speed limit")
    expect(view.locator(".document")).to_contain_text('"proofValue"')
    with view.expect_download() as download:
        view.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.startswith("data-")
    view.get_by_role("link", name="Which systems came of it?").click()
    expect(view.locator(".listed")).to_contain_text("Traffic signs")


def test_scenarios_are_asked_or_said_not_to_be(view):
    expect = playwright.expect
    expect(view.locator(".scenarios")).to_contain_text("shell is none of TAIBOM's sixteen questions")
    view.get_by_role("link", name="Is it poisoned?").click()
    expect(view.locator(".verdict")).to_contain_text("Poisoned")


@pytest.mark.parametrize("width", [320, 390, 768, 1200])
def test_nothing_is_cut_off(view, width, system_id):
    view.set_viewport_size({"width": width, "height": 800})
    view.goto(f"{view.url}?system={system_id}")
    assert view.evaluate("document.documentElement.scrollWidth") <= width


def test_it_works_without_script(browser, battery, system_id):
    with open_battery(battery, key=SigningKey.new()) as site, served(site) as address:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(address)
        page.get_by_role("link", name="Parking signs").click()
        form = page.locator("form[action^='/attest']")
        form.get_by_label("In what way").fill("data injection")
        form.get_by_role("button").click()
        playwright.expect(page.locator(".verdict")).to_contain_text("Poisoned")
        page.context.close()
