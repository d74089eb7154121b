"""Serves the page: one process, which ends after the running picture."""

import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import uvicorn
from fastapi import FastAPI

from clearpane._version import __version__
from clearpane.errors import ClearpaneError
from clearpane.web.judging import Judging
from clearpane.web.page import build_page, look
from clearpane.web.settings import PageSettings
from clearpane.web.studio import Studio
from clearpane.web.visits import Visits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_LINGER_SECONDS = 2.0
# Longer than a client of a busy page pauses: a connection closed just as it is used again loses a request.
_KEEP_ALIVE_SECONDS = 120
# The page needs nothing from elsewhere, and nobody may frame it.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'self'; object-src 'none'; base-uri 'self'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def serve(settings: PageSettings) -> None:
    """Serve the page until SIGTERM or Ctrl-C; the picture being worked on is finished first.

    Raises:
        ClearpaneError: the address cannot be listened on.
    """
    studio = Studio(settings)
    try:
        app = make_app(studio)
        config = uvicorn.Config(
            app,
            settings.host,
            settings.port,
            log_level="warning",
            timeout_graceful_shutdown=3,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        server = PageServer(config, studio)
        try:
            config.bind_socket().close()  # it ends the process where it cannot
        except SystemExit as error:
            raise ClearpaneError(
                f"cannot listen on {settings.host}, port {settings.port}: it is taken or not of "
                "this computer; choose another `port`"
            ) from error
        print(f"Clearpane is at http://{settings.host}:{settings.port} (Ctrl-C ends it)", flush=True)
        server.run()
    finally:
        studio.visits.close()


class PageServer(uvicorn.Server):
    """Ends at the first signal after the running picture, at the second at once."""

    def __init__(self, config: uvicorn.Config, studio: Studio) -> None:
        super().__init__(config)
        self.studio = studio

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self.studio.gate.closing.is_set():
            self.force_exit = self.should_exit = True
            return
        self.studio.gate.close()
        print("ending after the running picture; press Ctrl-C to end at once", file=sys.stderr, flush=True)
        threading.Thread(target=self._end, name="end", daemon=True).start()

    def _end(self) -> None:
        had_work = self.studio.gate.running > 0
        self.studio.gate.wait()
        if had_work:
            time.sleep(_LINGER_SECONDS)  # the browser fetches the result
        self.should_exit = True


def make_app(studio: Studio) -> FastAPI:
    """Make the web application: the page at /, /health, and the pages for judging."""
    os.environ["GRADIO_TEMP_DIR"] = str(studio.visits.root)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    settings = studio.settings
    judging = Judging()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = build_page(studio, judging)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {
            "status": "closing" if studio.gate.closing.is_set() else "ok",
            "version": __version__,
            "running": studio.gate.running,
            "waiting": len(page._queue),
            "visits": len(studio.visits),
            "models_loaded": studio.separators.loaded,
        }

    app.include_router(judging.router)
    # Before the page, which answers every other address.
    app.add_middleware(Departures, visits=studio.visits)
    app.add_middleware(Guard, largest=settings.limits.upload_bytes)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=settings.host,
        server_port=settings.port,
        auth=settings.account,
        max_file_size=settings.limits.file_bytes,
        i18n=studio.texts.i18n,
        footer_links=["api", "settings"],
        run_history=False,
        show_error=True,
        ssr_mode=False,
        **look(),
    )
    # Unless it counts as launched, Gradio takes files of any path from clients; mounting does not set it.
    page.has_launched = True
    studio.visits.start()
    return mounted


class Departures:
    """Notes when the client that waits for a job's result hangs up, and ends its visit.

    A page reports that it is left; a program may only close the stream on which it waits.
    """

    def __init__(self, app: Any, visits: Visits) -> None:
        self.app = app
        self.visits = visits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        session = _awaited_session(scope)
        if session is None:
            await self.app(scope, receive, send)
            return
        answered = False

        async def receive_or_leave() -> MutableMapping[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect" and not answered:
                self.visits.leave(session)
            return message

        async def send_and_note(message: MutableMapping[str, Any]) -> None:
            nonlocal answered
            answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        await self.app(scope, receive_or_leave, send_and_note)


def _awaited_session(scope: Scope) -> str | None:
    """Return the session whose results a request waits for, or None for every other request."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path: list[str] = scope["path"].split("/")
    if path[-2:] == ["queue", "data"]:
        query: bytes = scope["query_string"]
        return dict(parse_qsl(query.decode())).get("session_hash")
    # Without a session of its own, the number of a call is its session.
    return path[-1] if "call" in path[-4:-2] else None


class Guard:
    """Refuses uploads that are too large before they are read, and adds headers to every answer."""

    def __init__(self, app: Any, largest: int) -> None:
        self.app = app
        self.largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0
        headers = dict(scope["headers"])
        if int(headers.get(b"content-length", b"0")) > self.largest:
            await send({"type": "http.response.start", "status": 413, "headers": list(_HEADERS)})
            await send({"type": "http.response.body", "body": b"the upload is too large"})
            return

        async def receive_some() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.largest:  # an upload in chunks tells no length beforehand
                return {"type": "http.disconnect"}
            return message

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        await self.app(scope, receive_some, send_with_headers)
