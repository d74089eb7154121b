"""Pages for judging by eye, at an address of their own, and the answers that people send from there."""

import secrets
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

_LARGEST = 1_000_000
_MOST_ANSWERS = 1000


class Judging:
    """Pages by secret addresses. A page is gone when the visit that made it ends."""

    def __init__(self) -> None:
        self._pages: dict[str, Path] = {}
        self.router = APIRouter()
        self.router.add_api_route("/judge/{token}", self.page, methods=["GET"], response_model=None)
        self.router.add_api_route("/judge/{token}", self.answer, methods=["POST"], response_model=None)

    def publish(self, page: Path) -> str:
        """Give a page an address; return its path on this server."""
        self._pages = {token: path for token, path in self._pages.items() if path.exists()}
        token = secrets.token_urlsafe(16)
        self._pages[token] = page
        return f"/judge/{token}"

    def page(self, token: str) -> Response:
        """Answer GET: the page."""
        path = self._pages.get(token)
        if path is None or not path.exists():
            return PlainTextResponse("This page is gone.", 404)
        return HTMLResponse(path.read_text("utf-8"))

    async def answer(self, token: str, request: Request) -> Response:
        """Answer POST: keep the answers of one person, as CSV."""
        path = self._pages.get(token)
        if path is None or not path.exists():
            return PlainTextResponse("This page is gone.", 404)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST:
                return PlainTextResponse("The answers are too long.", 413)
        if len(answers_of(path)) >= _MOST_ANSWERS:
            return PlainTextResponse("There are enough answers.", 429)
        (path.parent / f"answers-{secrets.token_hex(6)}.csv").write_bytes(body)
        return Response(status_code=204)


def answers_of(page: Path) -> list[Path]:
    """List the answers that were sent from a page."""
    return sorted(page.parent.glob("answers-*.csv"))
