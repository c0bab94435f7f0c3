"""The page "Gallery": who is enrolled, enrol, rename, merge, forget. The same functions as the shell's verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from visagent.errors import VisagentError
from visagent.evidence import Finding
from visagent.media import PictureStore
from visagent.tools import tool_by_name
from visagent.tools.recognition.access import calibration_of, gallery_of, record
from visagent.ui.addresses import jpeg_address
from visagent.ui.evidence_view import evidence_html, render
from visagent.ui.forms import arguments_of, fields_of
from visagent.ui.house import House, Upload


@dataclass(frozen=True, slots=True)
class Card:
    """One person on the page."""

    name: str
    samples: int
    since: str
    until: str
    purpose: str
    consent: str
    picture: str


@dataclass(frozen=True, slots=True)
class GalleryPage:
    """The components that every act changes."""

    house: House
    people: gr.HTML
    result: gr.HTML
    names: list[gr.Dropdown]

    def outputs(self) -> list[Any]:
        """People, result, and the fields that offer names."""
        return [self.people, self.result, *self.names]

    def painted(self, result: str) -> list[Any]:
        """The page as the gallery stands, with what an act gave."""
        try:
            cards = _cards(self.house)
        except VisagentError as error:
            problem = render("problem.html", text=str(error))
            return [problem, result, *(gr.update(choices=[], value=None) for _ in self.names)]
        choices = [card.name for card in cards]
        return [render("people.html", people=cards), result,
                *(gr.update(choices=choices, value=None) for _ in self.names)]


def build_gallery_page(house: House, tab: gr.Tab) -> list[gr.components.Component]:
    """Lay out the page and wire it, in the current Gradio context; gives what shows pictures or findings."""
    gr.Markdown("Templates are kept encrypted on this machine, pictures only if you choose so. Every act leaves a "
                "receipt in the audit trail.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            people = gr.HTML("", elem_id="va-people")
            result = gr.HTML("", elem_id="va-gallery-result")
        with gr.Column(scale=5, min_width=300):
            with gr.Accordion("Enrol a person", open=True):
                files = gr.File(label="Pictures of the one person", file_count="multiple", file_types=["image"],
                                height=170, elem_id="va-enrol-pictures")
                fields = fields_of(tool_by_name("enrol"), prefix="va-gallery")
                enrol = gr.Button("Enrol", variant="primary", elem_id="va-enrol")
            with gr.Accordion("Rename", open=False):
                old, new = _name("Whom", "va-rename-old"), gr.Textbox(label="New name", elem_id="va-rename-new")
                rename = gr.Button("Rename", elem_id="va-rename")
            with gr.Accordion("Merge two people who are one", open=False):
                gone, into = _name("Move all of", "va-merge-gone"), _name("To", "va-merge-into")
                merge = gr.Button("Merge", elem_id="va-merge")
            with gr.Accordion("Forget", open=False):
                whom = _name("Whom", "va-forget-name")
                forget = gr.Button("Forget for good", variant="stop", elem_id="va-forget")
    page = GalleryPage(house, people, result, [old, gone, into, whom])
    quick: dict[str, Any] = {"outputs": page.outputs(), "api_visibility": "private", "concurrency_limit": None,
                             "show_progress": "minimal"}

    def run_enrol(values: Mapping[Any, Any], request: gr.Request) -> list[Any]:
        visitor = house.visitor(request)
        uploads: list[Upload] = values[files] or []
        if not uploads:
            return page.painted(render("problem.html", text="Put in one or several pictures first."))
        try:
            pictures = [house.picture(visitor, upload) for upload in uploads]
        except VisagentError as error:
            return page.painted(render("problem.html", text=str(error)))
        given = arguments_of(fields, [values[field.component] for field in fields])
        return page.painted(_shown(*house.call(tool_by_name("enrol"), pictures, given)))

    def run_forget(name: str | None) -> list[Any]:
        return page.painted(_shown(*house.call(tool_by_name("forget"), (), {"person": name or ""})))

    def run_rename(name: str | None, wanted: str) -> list[Any]:
        return page.painted(_told(lambda: _rename(house, name or "", wanted)))

    def run_merge(name: str | None, other: str | None) -> list[Any]:
        return page.painted(_told(lambda: _merge(house, name or "", other or "")))

    tab.select(lambda: page.painted(""), **quick)
    enrol.click(run_enrol, {files, *(field.component for field in fields)}, preprocess=False, **quick)
    # Names as they come: Gradio would check them against the choices that it remembers, and it is told to forget.
    rename.click(run_rename, [old, new], preprocess=False, **quick)
    merge.click(run_merge, [gone, into], js=_confirm("Move everything of one person to the other, for good?"),
                preprocess=False, **quick)
    forget.click(run_forget, [whom], js=_confirm("Forget this person for good?"), preprocess=False, **quick)
    return [files, result]


def _cards(house: House) -> list[Card]:
    """Everybody, for the page; the look is recorded as the shell's list is."""
    context = house.context(PictureStore())
    gallery = gallery_of(context)
    people = gallery.people()
    record(context, "people", decision="listed", count=len(people))
    cards = []
    for person in people:
        picture = gallery.thumbnail(person.card.name) if person.has_thumbnail else None
        cards.append(Card(person.card.name, person.samples, str(person.created.date()),
                          str(person.expires.date()) if person.expires else "", person.card.purpose,
                          person.card.consent, jpeg_address(picture) if picture else ""))
    return cards


def _rename(house: House, name: str, wanted: str) -> str:
    context = house.context(PictureStore())
    gallery = gallery_of(context)
    gallery.rename(name, wanted)
    record(context, "rename", person=gallery.person(wanted).id)
    return "Renamed."


def _merge(house: House, name: str, into: str) -> str:
    context = house.context(PictureStore())
    gallery = gallery_of(context)
    gone = gallery.person(name).id
    alike = gallery.similarity(name, into)
    gallery.merge(name, into)
    record(context, "merge", person=gallery.person(into).id, gone=gone)
    if alike < calibration_of(context).different_below:
        return f"Merged, although their templates look unlike (similarity {alike:.3f}): was that right?"
    return "Merged."


def _told(act: Callable[[], str]) -> str:
    try:
        return render("done.html", text=act())
    except VisagentError as error:
        return render("problem.html", text=str(error))


def _shown(finding: Finding, pictures: PictureStore) -> str:
    return evidence_html(finding.tool.capitalize(), [finding], pictures, panel="gallery")


def _name(label: str, element: str) -> gr.Dropdown:
    return gr.Dropdown(label=label, choices=[], elem_id=element)


def _confirm(question: str) -> str:
    return f"(...values) => {{ if (!confirm({question!r})) throw new Error('kept'); return values; }}"
