"""A stand-in of the model hub: the endpoints that huggingface_hub asks when it downloads a model."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_ADDRESS = re.compile(r"/api/models/([^/]+/[^/]+)/(revision|tree)/\w+|/([^/]+/[^/]+)/resolve/\w+/(.+)")


class StandInHub:
    """Serves directories as repositories.

    Attributes:
        repositories: Directory of each repository by its name.
        gated: Names of repositories whose licence was not accepted.
        breaks: Number of transfers of files that will break off, each after 4,096 bytes.
        requests: What was asked: method, path and range.
    """

    COMMIT = "1" * 40

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.gated: set[str] = set()
        self.breaks = 0
        self.requests: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self)

            do_HEAD = do_GET

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def downloaded(self) -> list[str]:
        """Files whose contents were sent, in this order."""
        sent = (path.partition("/resolve/") for method, path, _ in self.requests if method == "GET")
        return [file.partition("/")[2] for _, found, file in sent if found]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.requests.append((request.command, path, request.headers.get("Range")))
        found = _ADDRESS.fullmatch(path)
        name = (found[1] or found[3]) if found else ""
        folder = self.repositories.get(name)
        if found is None or folder is None:
            return self._send(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
        if found[2] == "revision":
            facts = {"id": name, "sha": self.COMMIT, "siblings": []}
            return self._send(request, 200, json.dumps(facts).encode())
        if name in self.gated:
            return self._send(request, 403, b"", {"X-Error-Code": "GatedRepo"})
        if found[2] == "tree":
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            return self._send(request, 200, json.dumps([_entry(folder, p) for p in files]).encode())
        file = folder / found[4]
        if not file.is_file():
            return self._send(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
        content = file.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"X-Repo-Commit": self.COMMIT, "ETag": tag, "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Etag": tag, "X-Linked-Size": str(len(content))}
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if start is None:
            return self._send(request, 200, content, headers)
        headers["Content-Range"] = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
        self._send(request, 206, content[int(start[1]) :], headers)

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        if self.breaks and "/resolve/" in request.path:
            body, self.breaks = body[:4096], self.breaks - 1
            request.close_connection = True
        request.wfile.write(body)


def _entry(folder: Path, path: Path) -> dict[str, object]:
    content = path.read_bytes()
    return {
        "type": "file",
        "path": path.relative_to(folder).as_posix(),
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
        "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130},
    }
