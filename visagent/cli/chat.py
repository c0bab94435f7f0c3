"""`visagent chat`: the page in a browser."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from visagent.errors import SettingsError
from visagent.settings import Settings

CHAT_EXAMPLES = """
Examples:

\b
  visagent chat
  visagent chat --port 8000 --no-browser
  visagent chat --host 0.0.0.0 --user ada --password-file secret.txt \\
    --certificate cert.pem --key key.pem

The page is served to this machine alone. Another host needs a user and a
password, and should have a certificate, since pictures of faces travel.
Ctrl-C ends it; nothing that was uploaded outlives it.
"""


def chat(
    settings: Settings,
    host: Annotated[str, typer.Option("--host", help="What to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, show_default=False,
                                             help="Port; the first free one from 7860 on if left out.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Who may log in.")] = None,
    password_file: Annotated[Path | None, typer.Option(
        "--password-file", metavar="FILE", help="Its first line is the password.")] = None,
    certificate: Annotated[Path | None, typer.Option("--certificate", metavar="FILE", help="TLS certificate.")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its private key.")] = None,
) -> int:
    """Ask about faces in a browser."""
    if find_spec("gradio") is None:
        raise SettingsError("The page needs Gradio: pip install 'visagent[ui]'.")
    from visagent.ui.server import Address, is_loopback, serve_chat

    password = None if password_file is None else _first_line(password_file)
    address = Address(host, port, user, password, certificate, key)
    address.check()
    if not is_loopback(host) and certificate is None:
        typer.echo("Without --certificate, pictures and the password travel unencrypted.", err=True)

    def ready(url: str) -> None:
        typer.echo(f"visagent chat: {url}   (Ctrl-C ends it)")
        if not no_browser:
            import webbrowser

            webbrowser.open(url)

    serve_chat(settings, address, ready=ready)
    return 0


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError, UnicodeDecodeError):
        raise SettingsError("The password file cannot be read, or its first line is empty.") from None
