"""What the view's tests share: sample files, the application in this process, and a browser."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from dynostore.cli import main
from dynostore.samples.seed import seed
from dynostore.store import Store

# Datasette asks databases in memory whether SQLite has JSON, at its import as well, and leaves them
# to be collected: Python 3.13 warns of each, wherever that happens.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)
    from dynostore.view.application import StoreView

    gc.collect()
_LEFT_OPEN = pytest.mark.filterwarnings("ignore:unclosed database in <sqlite3:ResourceWarning")

ADDRESS = "http://127.0.0.1:8001"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(_LEFT_OPEN)


@pytest.fixture(scope="package", autouse=True)
def collected() -> Iterator[None]:
    """Collect what Datasette left open before the tests of others begin, which allow nothing."""
    yield
    gc.collect()


class Site:
    """The view of one file, asked in this process."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.view = StoreView(store)
        self._app = self.view.app()

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Give the answer, whatever it is; a failure inside is raised here."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
                return await client.request(method, path, follow_redirects=True, **options)

        return asyncio.run(ask())

    def page(self, path: str, **parameters: str) -> str:
        """Give a page's text; it must be there."""
        answer = self.ask(path, params=parameters or None)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.text

    def rows(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        """Give what a table or query answers as JSON."""
        answer = self.ask(f"{path}.json", params={**parameters, "_shape": "objects"})
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file with the sample records; copy it before changing it."""
    path = tmp_path_factory.mktemp("view") / "sample.db"
    with Store.open(path) as store:
        seed(store)
    return path


@pytest.fixture
def sample(seeded: Path, tmp_path: Path) -> Path:
    """Give a file of the test's own with the sample records."""
    return Path(shutil.copy(seeded, tmp_path / "sample.db"))


@pytest.fixture
def site_of() -> Iterator[Callable[..., Site]]:
    """Give ``site_of(path, *models)``, which views a file and makes it where it is missing."""
    sites: list[Site] = []

    def view(path: Path, *models: Any) -> Site:
        sites.append(Site(Store.open(path, models=models)))
        return sites[-1]

    yield view
    for site in sites:
        site.view.shut()
        site.store.close()


@pytest.fixture
def site(sample: Path, site_of: Callable[..., Site]) -> Site:
    """Give the view of the sample records."""
    return site_of(sample)


@pytest.fixture
def call() -> Callable[..., tuple[int, str, str]]:
    """Give a function that runs the command in this process: exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        with CliRunner().isolation() as (out, err, _):
            code = main([str(word) for word in words])
            sys.stdout.flush()
            sys.stderr.flush()
            said = out.getvalue().decode(), err.getvalue().decode()
        assert "Traceback" not in said[1]
        return code, *said

    return run


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Give ``serve(path)``, which views a file by the program and gives the address."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path) -> str:
        words = [sys.executable, "-m", "dynostore", "--db", str(path), "view", "--port", "0"]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        return started[-1].stdout.readline().strip().rstrip("/")

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"needs {name}: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give Chromium, which resolves no name of the network and logs what pages ask for."""
    chromium, driver = _program("chromium"), _program("chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("chromium")
    for word in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "window-size=1280,1600",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    started.set_page_load_timeout(120)
    yield started
    started.quit()
