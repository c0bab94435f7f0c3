"""The chat's own server: one process, loopback unless a password is set, nothing on disk that outlives it."""

from __future__ import annotations

import ipaddress
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visagent.errors import SettingsError, VisagentError
from visagent.settings import Settings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from visagent.tools.models import Models
    from visagent.ui.house import House

DEFAULT_PORT: Final = 7860
PORTS_TRIED: Final = 20
PURGE_SECONDS: Final = 60.0
SHORTEST_PASSWORD: Final = 12


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page is served, and to whom.

    Attributes:
        host: Name or address to listen on; another than loopback needs `user` and `password`.
        port: Port; None takes the first free one from 7860 on.
        user: Who may log in; None lets in everybody on this machine.
        password: Their password.
        certificate: TLS certificate, PEM.
        key: Its private key, PEM.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Raise SettingsError if faces would be served to whoever asks."""
        if (self.user is None) != (self.password is None):
            raise SettingsError("A user needs a password and the other way round; give both or neither.")
        if self.password is not None and len(self.password) < SHORTEST_PASSWORD:
            raise SettingsError(f"The password is too short; take at least {SHORTEST_PASSWORD} characters.")
        if self.user is None and not is_loopback(self.host):
            raise SettingsError("This address can be reached from other machines; set a user and a password, or "
                                "serve on 127.0.0.1.")
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("A TLS certificate needs its key and the other way round; give both or neither.")

    @property
    def scheme(self) -> str:
        """`https` with a certificate."""
        return "http" if self.certificate is None else "https"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def serve_chat(settings: Settings, address: Address | None = None, *,
               ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve the chat until the process is told to stop (Ctrl-C).

    Args:
        settings: Which model to ask, where the gallery is, the limits.
        address: Where, and to whom; loopback only if None.
        ready: Called with the page's address once it can be opened.

    Raises:
        SettingsError: The address would serve faces to everybody, or the port is taken.
    """
    import uvicorn

    where = Address() if address is None else address
    where.check()
    bound = _listen(where)
    port = bound.getsockname()[1]
    with _ending_tidily(), _runtime_folder() as folder, _house(_absolute(settings), folder) as house:
        app = build_app(house, where)
        config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", server_header=False,
                                timeout_graceful_shutdown=2,
                                ssl_certfile=where.certificate and str(where.certificate),
                                ssl_keyfile=where.key and str(where.key))
        server = uvicorn.Server(config)
        shown = "127.0.0.1" if where.host in ("0.0.0.0", "::") else where.host
        threading.Thread(target=_tell_when_started, args=(server, lambda: ready(f"{where.scheme}://{shown}:{port}/")),
                         daemon=True).start()
        server.run(sockets=[bound])


def build_app(house: House, address: Address) -> FastAPI:
    """The page behind its guard, as an ASGI app."""
    import gradio as gr
    from fastapi import FastAPI

    from visagent.ui.blocks import build_blocks, page_arguments
    from visagent.ui.guard import LOOPBACK_HOSTS, Guard

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    arguments = page_arguments(address, _private_folders(house.settings))
    blocks = build_blocks(house)
    gr.mount_gradio_app(app, blocks, path="/", **arguments)
    house.sessions.watch(blocks.state_holder)
    hosts = LOOPBACK_HOSTS if is_loopback(address.host) else (*LOOPBACK_HOSTS, *_names_of(address.host))
    app.add_middleware(Guard, badges=house.badges, uploads=house.uploads, sessions=house.sessions, hosts=hosts)
    return app


def _private_folders(settings: Settings) -> list[Path]:
    """Where the gallery and the settings lie."""
    from visagent.settings import settings_file
    from visagent.tools.recognition.access import location_of

    return [location_of(settings).folder, settings_file().parent]


def _names_of(host: str) -> tuple[str, ...]:
    """What this machine may be called from outside: what it listens on, or its own name and addresses."""
    if host not in ("0.0.0.0", "::"):
        return (host,)
    name = socket.gethostname()
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    except OSError:
        addresses = set()
    return (name, socket.getfqdn(), *addresses)


@contextmanager
def _house(settings: Settings, folder: Path) -> Iterator[House]:
    """What the pages share, and what clears it up."""
    from visagent.ui.badges import Badges
    from visagent.ui.house import House
    from visagent.ui.sessions import Sessions
    from visagent.ui.uploads import Uploads
    from visagent.ui.visitors import Visitors
    from visagent.verbs import open_models

    models = open_models(settings)
    uploads = Uploads(folder / "uploads")
    sessions = Sessions()
    visitors = Visitors(settings, models, uploads, sessions)
    over = threading.Event()

    def purge() -> None:
        while not over.wait(PURGE_SECONDS):
            try:
                visitors.purge()
                uploads.purge()
            except Exception:  # one visitor who cannot be forgotten now must not keep all others
                logging.getLogger(__name__).exception("Clearing up failed.")

    threading.Thread(target=purge, name="visagent-purge", daemon=True).start()
    threading.Thread(target=_warm, args=(models,), name="visagent-warm", daemon=True).start()
    try:
        yield House(settings, models, visitors, uploads, Badges(), sessions)
    finally:
        over.set()
        visitors.close()
        models.release()


def _warm(models: Models) -> None:
    """Load what the first question will need while the person still reads the page.

    One core is left to the page and its browser: a model that computes on all of them waits for the busiest one, which
    made an answer 130 ms later on two cores.
    """
    import torch

    from visagent.tools.spoof.specialist import load_specialist
    from visagent.tools.spoof.surroundings import load_surroundings
    from visagent.vision.detect import load_face_detector

    torch.set_num_threads(max(1, min(torch.get_num_threads(), len(os.sched_getaffinity(0)) - 1)))
    with suppress(VisagentError):  # what is missing is said when it is needed
        models.get(load_face_detector)
        models.vision_language_model()
        models.get(load_specialist)
        models.get(load_surroundings)


@contextmanager
def _runtime_folder() -> Iterator[Path]:
    """An empty private folder to run in: Gradio may serve what lies in the folder that it runs in."""
    before = os.getcwd()
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"visagent-chat-{os.getpid()}-"))  # mode 0700
    (folder / "uploads").mkdir()
    (folder / "work").mkdir()
    os.environ.update(GRADIO_TEMP_DIR=str(folder / "uploads"), GRADIO_ANALYTICS_ENABLED="False",
                      HF_HUB_DISABLE_TELEMETRY="1", LANGSMITH_TRACING="false")
    os.chdir(folder / "work")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write down addresses
    try:
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Delete the folders of pages that were killed: nobody else would."""
    for folder in Path(tempfile.gettempdir()).glob("visagent-chat-*-*"):
        number = folder.name.split("-")[2]
        with suppress(OSError):
            if number.isdecimal() and folder.stat().st_uid == os.getuid() and not _runs(int(number)):
                shutil.rmtree(folder, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _ending_tidily() -> Iterator[None]:
    """A process that is told to end leaves its blocks first; uvicorn passes the signal on when it has stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _absolute(settings: Settings) -> Settings:
    """The settings with whole paths, since the page runs in a folder of its own."""
    whole: dict[str, object] = {name: value.expanduser().absolute() for name in Settings.model_fields
                                if isinstance(value := getattr(settings, name), Path)}
    if settings.gallery is not None and "://" not in settings.gallery:
        whole["gallery"] = str(Path(settings.gallery).expanduser().absolute())
    if Path(settings.model).is_dir():
        whole["model"] = str(Path(settings.model).absolute())
    return settings.model_copy(update=whole)


def _listen(address: Address) -> socket.socket:
    """A socket on the wanted port, or on the first free one. Raises SettingsError."""
    ports = [address.port] if address.port is not None else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    for port in ports:
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((address.host.strip("[]"), port))
        except OSError:
            bound.close()
            continue
        return bound
    raise SettingsError("The port is taken, or the host is not one of this machine; choose others.")


def _tell_when_started(server: uvicorn.Server, tell: Callable[[], None]) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.05)
    tell()
