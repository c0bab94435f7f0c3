"""The chat in a browser: `visagent chat`, or `visagent.ui.serve_chat` from Python. Needs the extra `ui` (Gradio)."""

from __future__ import annotations

from visagent.ui.server import serve_chat

__all__ = ["serve_chat"]
