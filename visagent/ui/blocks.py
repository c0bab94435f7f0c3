"""The whole page: its tabs, how it looks, and what Gradio is allowed to do."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gradio as gr

from visagent.ui.chat_page import build_chat_page
from visagent.ui.compare_page import build_compare_page
from visagent.ui.gallery_page import build_gallery_page
from visagent.ui.house import House
from visagent.ui.tools_page import build_tools_page
from visagent.ui.uploads import MOST_BYTES

if TYPE_CHECKING:
    from visagent.ui.server import Address

_FONTS: Final = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
_FIXED: Final = ("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace")
_SWITCH_THEME: Final = "() => { document.body.classList.toggle('dark'); }"
_NAME_BUTTONS: Final = """() => {
  const name = () => document.querySelectorAll('#va-chat .arrow button[aria-label=""]').forEach(
    button => button.setAttribute('aria-label', 'Show or hide the step'));
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
}"""
"""Gradio's button that folds a step has no name for screen readers."""
WAITING: Final = 32
"""Questions that may wait in the queue."""


def build_blocks(house: House) -> gr.Blocks:
    """Lay out and wire all pages."""
    def left(request: gr.Request) -> None:
        """A page was closed, or loaded anew as another session."""
        if request.session_hash is not None:
            house.sessions.drop(request.session_hash)

    blocks: gr.Blocks
    with gr.Blocks(title="visagent", analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as blocks:
        with gr.Row(elem_classes="va-head"):
            gr.HTML("<h1>visagent</h1><p>Ask about faces, on your own machine</p>", elem_id="va-title")
            switch = gr.Button("Dark or light", size="sm", scale=0, min_width=110, elem_id="va-theme")
        with gr.Tabs(elem_id="va-tabs"):
            with gr.Tab("Chat", id="chat"):
                cleared = build_chat_page(house, blocks)
            with gr.Tab("Compare", id="compare"):
                showing = build_compare_page(house)
            with gr.Tab("Gallery", id="gallery") as tab:
                showing += build_gallery_page(house, tab)
            with gr.Tab("Tools", id="tools"):
                showing += build_tools_page(house)
        cleared.success(lambda: ["" if isinstance(part, gr.HTML) else None for part in showing], None, showing,
                        show_progress="hidden", api_visibility="private")
        blocks.unload(left)
        switch.click(None, js=_SWITCH_THEME, api_visibility="private")
    blocks.queue(max_size=WAITING, api_open=False)
    return blocks


def page_arguments(address: Address, private: Sequence[Path]) -> dict[str, Any]:
    """What Gradio is told: nothing is shared, recorded, monitored or sent, and no folder is open to it.

    Args:
        address: Where the page is served, and to whom.
        private: Folders that are never served, whatever else may be.
    """
    return {
        "server_name": address.host,
        "auth": None if address.user is None or address.password is None else (address.user, address.password),
        "allowed_paths": [],
        "blocked_paths": [str(folder) for folder in private],
        "show_error": False,
        "max_file_size": MOST_BYTES,
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "pwa": False,
        "mcp_server": False,
        "footer_links": [],
        "theme": _theme(),
        "js": _NAME_BUTTONS,
        "css": (files("visagent.ui") / "style.css").read_text(),
    }


def _theme() -> gr.themes.Base:
    theme = gr.themes.Base(primary_hue=gr.themes.colors.sky, neutral_hue=gr.themes.colors.slate,
                           radius_size=gr.themes.sizes.radius_md, font=_FONTS, font_mono=_FIXED)
    # Gradio's own shades for lesser text are too pale to read: WCAG asks for a contrast of 4.5, and of 3 for the edge
    # of what can be ticked.
    return theme.set(body_text_color_subdued="*neutral_500", block_info_text_color="*neutral_500",
                     block_label_text_color="*neutral_600", input_placeholder_color="*neutral_500",
                     input_placeholder_color_dark="*neutral_400", checkbox_border_color="*neutral_500",
                     checkbox_border_color_dark="*neutral_400",
                     button_primary_background_fill="*primary_700",
                     button_primary_background_fill_hover="*primary_800")
