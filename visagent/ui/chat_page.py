"""The page "Chat": ask in plain words, watch the steps, see the evidence beside the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from anyio import to_thread

from visagent.agent.approval import Approved, Refused
from visagent.demo import PHOTO_NAME, QUESTION, bundled
from visagent.errors import VisagentError
from visagent.media import Picture
from visagent.tools import TOOLS
from visagent.ui.conversation import Answered, ChatConversation
from visagent.ui.evidence_view import evidence_html, render
from visagent.ui.forms import Field, arguments_of, fields_of, filled
from visagent.ui.house import CAMERA, House, Upload, shown_in

NOTICE = ("What this is not: no certified liveness, no emotion felt, no proof of identity, no medical statement. "
          "Answers can be wrong; a person should look before anything hangs on one. Everything stays on this machine, "
          "in memory, until you clear it or have been away for an hour.")
EXAMPLES = (
    ("Example: live?", QUESTION, (PHOTO_NAME,)),
    ("Example: spoof?", QUESTION, ("astronaut-replay.jpg",)),
    ("Example: expression", "What expression does she show?", (PHOTO_NAME,)),
    ("Example: same person?", "Is this the same person?", (PHOTO_NAME, "astronaut-replay.jpg")),
    ("Example: micro-expression?", "Was there a micro-expression? When, and where on the face?",
     ("astronaut-clip.mp4",)),
)
"""Name, question and bundled files."""

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Approval:
    """The dialogue of one tool that asks first."""

    tool: str
    group: gr.Group
    fields: list[Field]
    approve: gr.Button
    decline: gr.Button


@dataclass(frozen=True, slots=True)
class ChatPage:
    """The components that change."""

    house: House
    chatbot: gr.Chatbot
    evidence: gr.HTML
    note: gr.HTML
    position: gr.Markdown
    pager: gr.Row
    stop: gr.Button
    box: gr.MultimodalTextbox
    camera: gr.Image
    conversations: gr.Dropdown
    approvals: dict[str, Approval]

    def outputs(self) -> set[Any]:
        """Everything that a callback may change."""
        asking = [part for approval in self.approvals.values()
                  for part in (approval.group, *(field.component for field in approval.fields))]
        return {self.chatbot, self.evidence, self.note, self.position, self.pager, self.stop, self.box, self.camera,
                self.conversations, *asking}

    def painted(self, conversation: ChatConversation, request: gr.Request) -> Updates:
        """The page as the conversation stands."""
        visitor = self.house.visitor(request)
        titles = [(one.title, key) for key, one in visitor.conversations.items()]
        return {self.conversations: gr.update(choices=titles, value=visitor.current), **self.changed(conversation)}

    def changed(self, conversation: ChatConversation) -> Updates:
        """What a turn changes while it runs."""
        count, busy = len(conversation.answers), conversation.busy
        return {
            self.chatbot: conversation.messages(),
            self.evidence: evidence_of(conversation),
            self.note: _note(conversation),  # by itself, so that the pictures need not be sent again for it
            self.position: f"Answer {conversation.page + 1} of {count}" if count else "",
            self.pager: gr.update(visible=count > 1),
            self.stop: gr.update(interactive=busy),
            **self._asking(conversation),
        }

    def _asking(self, conversation: ChatConversation) -> Updates:
        waiting = conversation.waiting
        updates: Updates = {}
        for name, approval in self.approvals.items():
            asked = waiting is not None and waiting.proposal.tool == name
            updates[approval.group] = gr.update(visible=asked)
            if waiting is not None and asked:
                values = filled(approval.fields, waiting.proposal.arguments)
                updates |= {field.component: value for field, value in zip(approval.fields, values, strict=True)}
        return updates


@dataclass(frozen=True, slots=True)
class Acts:
    """The buttons that act and never change."""

    begin: gr.Button
    clear: gr.Button
    back: gr.Button
    onward: gr.Button
    examples: list[gr.Button]


def build_chat_page(house: House, blocks: gr.Blocks) -> gr.events.Dependency:
    """Lay out the page and wire it, in the current Gradio context; gives what happens when all is to be cleared."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes="va-left"):
            with gr.Row(elem_classes="va-bar-row"):
                conversations = gr.Dropdown(label="Conversation", choices=[], scale=4, min_width=160,
                                            elem_id="va-conversations")
                begin = gr.Button("New", size="sm", scale=0, min_width=60, elem_id="va-new")
                clear = gr.Button("Clear everything", size="sm", scale=0, min_width=130, elem_id="va-clear")
            chatbot = gr.Chatbot(label="Messages", show_label=False, height="50vh", min_height=260,
                                 render_markdown=False, buttons=[], feedback_options=None, elem_id="va-chat",
                                 placeholder=render("welcome.html"))
            approvals = {tool.name: _approval(tool.name) for tool in TOOLS if tool.asks_first}
            box = gr.MultimodalTextbox(
                label="Your question", show_label=False, elem_id="va-question", file_count="multiple",
                file_types=["image", "video"], sources=["upload"], max_lines=6, autofocus=True,
                placeholder="Ask about a face; drop pictures or a clip here",
                max_plain_text_length=house.settings.max_question_characters)
            with gr.Row(elem_classes="va-examples"):
                stop = gr.Button("Stop", variant="stop", size="sm", interactive=False, scale=0, min_width=70,
                                 elem_id="va-stop")
                examples = [gr.Button(name, size="sm", min_width=60, elem_classes="va-example",
                                      elem_id=f"va-example-{number}") for number, (name, _, _) in enumerate(EXAMPLES)]
            with gr.Accordion("Take a picture with the camera", open=False):
                camera = gr.Image(sources=["webcam"], label="Camera", show_label=False, height=240, buttons=[],
                                  webcam_options=CAMERA, elem_id="va-camera")
                gr.Markdown("It goes with your next question.")
        with gr.Column(scale=6, min_width=320):
            with gr.Row(visible=False, elem_classes="va-bar-row") as pager:
                back = gr.Button("← Earlier answer", size="sm", min_width=80, elem_id="va-back")
                position = gr.Markdown("", elem_id="va-position")
                onward = gr.Button("Later answer →", size="sm", min_width=80, elem_id="va-onward")
            note = gr.HTML("", elem_id="va-note")
            evidence = gr.HTML("", elem_id="va-evidence")
    gr.Markdown(NOTICE, elem_classes="va-notice")
    page = ChatPage(house, chatbot, evidence, note, position, pager, stop, box, camera, conversations, approvals)
    return _wire(page, blocks, Acts(begin, clear, back, onward, examples))


def _approval(name: str) -> Approval:
    tool = next(tool for tool in TOOLS if tool.name == name)
    with gr.Group(visible=False, elem_id=f"va-approve-{name}", elem_classes="va-approve") as group:
        act = "changes" if tool.writes else "tells"
        gr.Markdown(f"**{tool.title} {act} what is stored. May I?** {tool.description}")
        fields = fields_of(tool, prefix="va-approve")
        with gr.Row():
            approve = gr.Button("Approve", variant="primary", min_width=100, elem_classes="va-yes")
            decline = gr.Button("Decline", min_width=100, elem_classes="va-no")
    return Approval(name, group, fields, approve, decline)


def _wire(page: ChatPage, blocks: gr.Blocks, acts: Acts) -> gr.events.Dependency:
    outputs, house = page.outputs(), page.house
    turn: dict[str, Any] = {"outputs": outputs, "concurrency_limit": None, "show_progress": "hidden",
                            "api_visibility": "private", "trigger_mode": "once"}
    quick: dict[str, Any] = {"outputs": outputs, "concurrency_limit": None, "show_progress": "hidden",
                             "api_visibility": "private"}

    async def submit(message: Mapping[str, Any], taken: Upload, request: gr.Request) -> AsyncIterator[Updates]:
        uploads = [*(message.get("files") or ()), *([taken] if taken else ())]
        attached = await to_thread.run_sync(_read, page, uploads, request)
        async for updates in _begin(page, message.get("text") or "", attached, request):
            yield updates

    def example(question: str, names: tuple[str, ...]) -> Callable[[gr.Request], AsyncIterator[Updates]]:
        async def run(request: gr.Request) -> AsyncIterator[Updates]:
            given = await to_thread.run_sync(lambda: [shown for name in names for shown in shown_in(bundled(name))])
            async for updates in _begin(page, question, given, request):
                yield updates
        return run

    async def reload(request: gr.Request) -> AsyncIterator[Updates]:
        conversation = house.visitor(request).conversation
        async for updates in _watch(page, conversation, page.painted(conversation, request)):
            yield updates

    async def choose(key: str, request: gr.Request) -> AsyncIterator[Updates]:
        visitor = house.visitor(request)
        if key in visitor.conversations:
            visitor.current = key
        async for updates in reload(request):
            yield updates

    def new(request: gr.Request) -> Updates:
        visitor = house.visitor(request)
        _refusing(house.visitors.begin, visitor)
        return page.painted(visitor.conversation, request)

    def forget(request: gr.Request) -> Updates:
        visitor = house.visitor(request)
        house.visitors.clear(visitor)
        return {**page.painted(visitor.conversation, request), page.box: {"text": "", "files": []}, page.camera: None}

    def turn_to(step: int) -> Callable[[gr.Request], Updates]:
        def run(request: gr.Request) -> Updates:
            conversation = house.visitor(request).conversation
            conversation.page = min(max(0, conversation.page + step), max(0, len(conversation.answers) - 1))
            return page.changed(conversation)
        return run

    def stop(request: gr.Request) -> None:
        house.visitor(request).conversation.stop()

    page.box.submit(submit, [page.box, page.camera], preprocess=False, **turn)
    for button, (_, question, names) in zip(acts.examples, EXAMPLES, strict=True):
        button.click(example(question, names), **turn)
    blocks.load(reload, **quick)
    # As it comes: Gradio would check it against the choices that it remembers, and it is told to forget.
    page.conversations.input(choose, [page.conversations], preprocess=False, **quick)
    acts.begin.click(new, **quick)
    cleared = acts.clear.click(forget, js=_CONFIRM, **quick)
    acts.back.click(turn_to(-1), **quick)
    acts.onward.click(turn_to(1), **quick)
    page.stop.click(stop, concurrency_limit=None, show_progress="hidden", api_visibility="private")
    for approval in page.approvals.values():
        # A set of inputs arrives as one mapping, so that the request can stand beside it.
        components: set[Any] = {field.component for field in approval.fields}
        approval.approve.click(_approver(page, approval), components or None, **quick)
        approval.decline.click(_decliner(page), **quick)
    return cleared


def _read(page: ChatPage, uploads: list[Upload], request: gr.Request) -> list[tuple[Picture, str]]:
    """The pictures that were attached, each with what it shows."""
    visitor = page.house.visitor(request)
    attached: list[tuple[Picture, str]] = []
    for upload in uploads:
        attached += _refusing(page.house.pictures, visitor, upload)
    return attached


async def _begin(page: ChatPage, question: str, attached: list[tuple[Picture, str]], request: gr.Request
                 ) -> AsyncIterator[Updates]:
    """Begin a turn and show it until it is over."""
    conversation = page.house.visitor(request).conversation
    _refusing(conversation.ask, question, [picture for picture, _ in attached], [shows for _, shows in attached])
    first = {**page.painted(conversation, request), page.box: {"text": "", "files": []}, page.camera: None}
    async for updates in _watch(page, conversation, first):
        yield updates


async def _watch(page: ChatPage, conversation: ChatConversation, shown: Updates) -> AsyncIterator[Updates]:
    """What is shown first, then what differs, until no turn runs: pictures are heavy, and most changes are words."""
    yield shown
    async for _ in conversation.follow():
        updates = page.changed(conversation)
        if differing := {part: value for part, value in updates.items() if shown.get(part) != value}:
            yield differing
        shown = {**shown, **updates}


def _approver(page: ChatPage, approval: Approval) -> Callable[..., Updates]:
    def approve(values: Mapping[Any, object], request: gr.Request) -> Updates:
        conversation = page.house.visitor(request).conversation
        given = arguments_of(approval.fields, [values[field.component] for field in approval.fields])
        waiting = conversation.waiting
        if waiting is not None and waiting.proposal.tool == approval.tool:  # not the button of an older page
            shown = {field.name for field in approval.fields}
            others = {name: value for name, value in waiting.proposal.arguments.items() if name not in shown}
            conversation.decide(Approved({**others, **given}))
        return {approval.group: gr.update(visible=False)}

    def approve_as_it_is(request: gr.Request) -> Updates:
        return approve({}, request)

    return approve if approval.fields else approve_as_it_is


def _decliner(page: ChatPage) -> Callable[[gr.Request], Updates]:
    def decline(request: gr.Request) -> Updates:
        page.house.visitor(request).conversation.decide(Refused())
        return {approval.group: gr.update(visible=False) for approval in page.approvals.values()}
    return decline


def _refusing(call: Callable[..., Any], *arguments: object) -> Any:
    """The call's result; what visagent refuses is a message on the page."""
    try:
        return call(*arguments)
    except VisagentError as error:
        raise gr.Error(str(error), title="Not possible", print_exception=False) from None


def evidence_of(conversation: ChatConversation) -> str:
    """The evidence of the answer that the page shows."""
    if not conversation.answers:
        return render("no_evidence.html")
    answers = conversation.answers
    answer: Answered = answers[min(conversation.page, len(answers) - 1)]
    return evidence_html(answer.question, answer.findings, conversation.agent.pictures,
                         caption=conversation.caption, addresses=conversation.addresses)


def _note(conversation: ChatConversation) -> str:
    """How long the answer that the page shows took."""
    answers = conversation.answers
    seconds = answers[min(conversation.page, len(answers) - 1)].seconds if answers else None
    return render("note.html", seconds=seconds) if seconds is not None else ""


_CONFIRM = "() => { if (!confirm('Delete all your conversations, pictures and findings?')) throw new Error('kept'); }"
