"""The running page and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

import visagent.tools
from visagent.agent.approval import Refused
from visagent.settings import Settings
from visagent.tools.models import Models
from visagent.ui.conversation import ChatConversation
from visagent.ui.guard import Guard
from visagent.ui.uploads import Uploads

from .fakes import Chat, ChatEngine, FakeTools
from .page_server import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    OpenPage = Callable[..., Page]

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
                None)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page with the shipped model."""
    with serving(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window; tests that need it are skipped where there is none.

    Not for the whole session: while Playwright is open, no other test of this process can run an event loop.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens the page as a new visitor; anything that a script or the network complains of fails the test."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def opened(url: str, *, width: int = 1280, height: int = 900, dark: bool = False, script: str = "") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height},
                                      color_scheme="dark" if dark else "light")
        contexts.append(context)
        context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(f"asks {request.url}")
                if not request.url.startswith((url, "data:", "blob:")) else None)
        page.goto(url)
        page.wait_for_selector("#va-question textarea")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> FakeTools:
    """The only tools that there are."""
    fakes = FakeTools()
    monkeypatch.setitem(vars(visagent.tools), "TOOLS", fakes.all())
    return fakes


@pytest.fixture
def chat(tools: FakeTools, tmp_path: Path) -> Iterator[Chat]:
    """Begins a conversation whose model follows a script."""
    made: list[tuple[ChatConversation, ChatEngine]] = []

    def begun(*script: Any, **settings: Any) -> tuple[ChatConversation, ChatEngine]:
        engine = ChatEngine(script=list(script))
        given = Settings(engine="scripted", gallery=str(tmp_path / "gallery"), **settings)
        made.append((ChatConversation(given, Models(lambda: engine)), engine))
        return made[-1]

    yield begun
    for conversation, engine in made:  # a test that failed in the middle leaves nothing waiting
        tools.may_end.set()
        engine.silent.set()
        conversation.decide(Refused())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where uploads lie."""
    made = tmp_path / "uploads"
    made.mkdir()
    return made


@pytest.fixture
def uploads(folder: Path) -> Uploads:
    return Uploads(folder)


@pytest.fixture
def visitor(guard: Guard) -> Iterator[TestClient]:
    """A browser that has opened the page behind the guard of a test."""
    with TestClient(guard, base_url="http://127.0.0.1") as opened:
        opened.get("/")
        yield opened


@pytest.fixture
def other(guard: Guard) -> Iterator[TestClient]:
    """Somebody else's browser."""
    with TestClient(guard, base_url="http://127.0.0.1") as opened:
        opened.get("/")
        yield opened
