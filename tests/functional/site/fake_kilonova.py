"""Stands for the `kilonova` command: ready at once, 50 hosts up, ends at SIGTERM. Only to test the site's own part."""

import json
import os
import signal
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOSTS = {"services": [{"state": "up"}] * 50 + [{"state": "down"}]}


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(HOSTS).encode()
        self.send_response(200)
        self.send_header("X-Subject-Token", "token")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def main(role: str, config: Path) -> None:
    settings = tomllib.loads(config.read_text())
    if role == "bootstrap":
        (config.parent / "bootstraps").open("a").write(f"{os.environ['KILONOVA_ADMIN_PASSWORD']}\n")
        return
    port = settings["api"]["port"] if role == "api" else int(os.environ["KILONOVA_PROCESS_OBSERVE_PORT"])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[3]))
