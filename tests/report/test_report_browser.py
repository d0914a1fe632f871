"""The report in a real browser: it opens without a complaint and without the network, its table sorts, and it fits a phone and the dark."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import a_page, a_verdict, spread

pytest.importorskip("selenium", reason="needs selenium: it is in the extra nc_tf[dev]")
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"),
]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DESKTOP, PHONE = 1280, 390
HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`suspected`, with a label that has neither norm nor index and a hostile name; `many`, of 1,283 labels; `gray`, of one channel."""
    path = tmp_path_factory.mktemp("pages")
    verdict = a_verdict(spread(12, {4: 2.5, 10: 100.0}), failed=[7], names=[f"sign {label}" for label in range(11)] + [HOSTILE])
    verdict["labels"][7].update(l1_norm=None, anomaly_index=None)
    pages = {
        "suspected": a_page(verdict),
        "many": a_page(a_verdict(spread(1283, {700: 3.0}))),
        "gray": a_page(a_verdict([8.0, 9.0]), channels=1),
    }
    for name, html in pages.items():
        (path / f"{name}.html").write_text(html, encoding="utf-8")
    return path


def show(browser: Chrome, page: Path, *, width: int = DESKTOP, scheme: str = "light") -> None:
    phone = width < 600
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.as_uri())


def column(browser: Chrome, heading: str) -> list[str]:
    """The cells of a column, from the top."""
    names = [cell.find_element(By.TAG_NAME, "span").text for cell in browser.find_elements(By.CSS_SELECTOR, "thead th")]
    place = next(position for position, name in enumerate(names) if name.startswith(heading)) + 1
    cells = browser.find_elements(By.CSS_SELECTOR, f"tbody tr > :nth-child({place})")
    return [cell.text for cell in cells]


def button(browser: Chrome, heading: str) -> Any:
    return browser.find_element(By.XPATH, f"//thead//button[starts-with(normalize-space(span), '{heading}')]")


def sorted_by(browser: Chrome) -> list[tuple[str, str]]:
    cells = browser.find_elements(By.CSS_SELECTOR, "thead th[aria-sort]")
    return [(cell.find_element(By.TAG_NAME, "span").text, str(cell.get_attribute("aria-sort"))) for cell in cells]


@pytest.mark.parametrize("name", ["suspected", "many", "gray"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_opens_without_complaint_or_network_and_fits(browser: Chrome, folder: Path, name: str, width: int, scheme: str) -> None:
    show(browser, folder / f"{name}.html", width=width, scheme=scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return [...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"}
    assert (folder / f"{name}.html").as_uri() in asked, "the log misses the page itself, so it proves nothing"
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert len([url for url in asked if url.startswith("file:")]) == 1


def test_nothing_of_a_hostile_name_runs(browser: Chrome, folder: Path) -> None:
    show(browser, folder / "suspected.html")
    assert browser.title == "Backdoor suspected: suspicious.keras (nc_tf)"
    assert HOSTILE in column(browser, "Name")


def test_the_policy_stops_what_is_slipped_in(browser: Chrome, folder: Path, tmp_path: Path) -> None:
    html = (folder / "suspected.html").read_text(encoding="utf-8")
    slipped = "<script>document.title = 'owned'</script><img src='https://example.org/a.png' alt='' onerror='document.title = 1'></body>"
    (tmp_path / "slipped.html").write_text(html.replace("</body>", slipped), encoding="utf-8")
    show(browser, tmp_path / "slipped.html")
    assert browser.title.startswith("Backdoor suspected")
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert len([text for text in complaints if "Content Security Policy" in text]) >= 2, complaints


def test_a_click_sorts_by_number_one_way_and_the_other_with_what_is_none_at_the_end(browser: Chrome, folder: Path) -> None:
    show(browser, folder / "suspected.html")
    assert sorted_by(browser) == [("L1 norm", "ascending")]
    norms = column(browser, "L1 norm")
    assert norms[-1] == "none"
    assert [float(norm) for norm in norms[:-1]] == sorted(float(norm) for norm in norms[:-1])

    button(browser, "L1 norm").click()
    assert sorted_by(browser) == [("L1 norm", "descending")]
    norms = column(browser, "L1 norm")
    assert (norms[0], norms[-1]) == ("100.00", "none")  # as text, 100 would stand between 10 and 2
    assert [float(norm) for norm in norms[:-1]] == sorted((float(norm) for norm in norms[:-1]), reverse=True)

    button(browser, "Label").click()
    assert sorted_by(browser) == [("Label", "ascending")]
    assert [text.split()[0] for text in column(browser, "Label")] == [str(label) for label in range(12)]
    assert browser.find_element(By.ID, "sorted").get_attribute("textContent") == "sorted by Label, ascending"


def test_names_sort_as_people_count(browser: Chrome, folder: Path) -> None:
    show(browser, folder / "suspected.html")
    button(browser, "Name").click()
    assert column(browser, "Name")[1:] == [f"sign {label}" for label in range(11)]


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE], ids=["Enter", "Space"])
def test_the_keyboard_sorts(browser: Chrome, folder: Path, key: str) -> None:
    show(browser, folder / "suspected.html")
    button(browser, "L1 norm").send_keys(Keys.TAB)  # from one heading to the next
    assert browser.switch_to.active_element.text.startswith("Anomaly index")
    browser.switch_to.active_element.send_keys(key)
    assert sorted_by(browser) == [("Anomaly index", "ascending")]
    browser.switch_to.active_element.send_keys(key)
    assert sorted_by(browser) == [("Anomaly index", "descending")]
    indices = column(browser, "Anomaly index")
    assert indices[-1] == "none"
    assert [float(index) for index in indices[:-1]] == sorted((float(index) for index in indices[:-1]), reverse=True)


def test_the_table_scrolls_inside_its_box_and_takes_the_focus(browser: Chrome, folder: Path) -> None:
    show(browser, folder / "many.html", width=PHONE)
    box = browser.find_element(By.CLASS_NAME, "scroll")
    assert browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    assert browser.execute_script("return arguments[0].clientHeight", box) < 844
    assert box.get_attribute("tabindex") == "0"


def colours(browser: Chrome) -> list[str]:
    script = "return ['body', '.panel', 'h2', '.band'].flatMap((name) => {const style = getComputedStyle(document.querySelector(name));"
    return list(browser.execute_script(script + "return [style.backgroundColor, style.color]})"))


def test_the_dark_has_colours_of_its_own(browser: Chrome, folder: Path) -> None:
    show(browser, folder / "suspected.html")
    light = colours(browser)
    show(browser, folder / "suspected.html", scheme="dark")
    dark = colours(browser)
    assert light[0] == "rgb(245, 246, 248)"
    assert dark[0] == "rgb(17, 21, 27)"
    changed = [before != after for before, after in zip(light, dark, strict=True)]
    # The heading has no background, and the band's writing is white in both.
    assert changed == [True, True, True, True, False, True, True, False]
