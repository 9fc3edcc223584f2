"""A run as one self-contained HTML page: it needs no network, no server and no other file.

The run goes into the page as JSON, and from there into the document as text, never as markup. `watch` serves the page
to this machine alone, and newer data while the run goes on.
"""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..errors import ArgumentError, HPO4DLError
from ..records.journal import NAME
from .charts import page_data
from .importance import Importance
from .run import Run, read_run

TEMPLATE = Path(__file__).with_name('page.html')
DATA = '<script id="data" type="application/json">null</script>'
POLL = 'const POLL = 0;'


def page(run: Run, poll: int = 0, version: str = '', importance: Importance | None = None) -> str:
    """Return the page as HTML.

    Args:
        run: what `read_run` returned.
        poll: milliseconds between two requests for newer data; 0: never.
        version: the `fingerprint` of these data.
        importance: what `importance.importance` returned; adds a chart.
    """
    found = None if importance is None else vars(importance)
    data = json.dumps({**page_data(run), 'version': version, 'importance': found})
    data = data.replace('<', '\\u003c')  # no tag can end the script
    html = TEMPLATE.read_text(encoding='utf-8').replace(POLL, f'const POLL = {poll:d};')
    return html.replace(DATA, DATA.replace('null', data))


def watch(folder: str | os.PathLike[str], port: int = 8008, poll: int = 2000) -> None:
    """Serve the page of a run on this machine until Ctrl-C.

    Raises:
        JournalError: the folder holds no run.
        ArgumentError: the port cannot be used.
    """
    with server(Path(folder), port, poll) as serving:
        print(f'http://localhost:{serving.server_address[1]}/  (Ctrl-C ends it)', flush=True)
        serving.serve_forever()


def server(folder: Path, port: int, poll: int) -> ThreadingHTTPServer:
    """Return the server of `watch`: `/` is the page, `/data` the newest data, or status 204 if `have` is their version.

    It answers requests for local host names only, so that no other site can read a run through the user's browser.
    """
    read_run(folder)  # an error now rather than in the browser

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds: who connects and asks for nothing occupies no thread for ever

        def do_GET(self) -> None:
            host = urlsplit('//' + self.headers.get('Host', '')).hostname
            address = urlsplit(self.path)
            if host not in ('localhost', '127.0.0.1') or address.path not in ('/', '/data'):
                return self.send_error(404)
            version = fingerprint(folder)
            try:
                if address.path == '/':
                    return self.answer('text/html', page(read_run(folder), poll, version))
                if parse_qs(address.query).get('have') == [version]:
                    return self.answer('application/json', '', 204)
                data = {**page_data(read_run(folder)), 'version': version}
                return self.answer('application/json', json.dumps(data))
            except HPO4DLError as error:
                return self.answer('text/plain', str(error), 500)

        def answer(self, kind: str, text: str, status: int = 200) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header('Content-Type', f'{kind}; charset=utf-8')
            self.send_header('Content-Length', str(len(content)))
            self.send_header('Cache-Control', 'no-store')
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Log nothing."""

    for candidate in (port, 0):
        try:
            return ThreadingHTTPServer(('127.0.0.1', candidate), Handler)
        except OverflowError:
            break
        except OSError:  # taken: any free one
            continue
    raise ArgumentError('port', port, 'a number from 0 to 65535')


def fingerprint(folder: Path) -> str:
    """Return a text that changes whenever the run does."""
    found = []
    for name in (NAME, 'lock'):
        try:
            status = (folder / name).stat()
            found.append(f'{status.st_size}-{status.st_mtime_ns}')
        except OSError:
            found.append('none')
    return ':'.join(found)
