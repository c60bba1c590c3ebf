"""What the tests share: a stand-in for the service over real HTTP, and a wait for conditions."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, List, Tuple, Union

Answer = Union[None, Tuple[int, str], Tuple[int, str, Dict[str, str]]]


class Service:
    """Answers by the end of the path; None cuts the connection. Keeps what it was sent."""

    def __init__(self) -> None:
        self.jwks: Any = {"keys": []}
        self.handlers: Dict[str, Callable[[Dict[str, Any]], Answer]] = {}
        self.requests: List[Tuple[str, Dict[str, str], bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.respond((200, json.dumps(service.jwks)))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                service.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                for ending, handler in list(service.handlers.items()):
                    if self.path.endswith(ending):
                        self.respond(handler(json.loads(body)))
                        return
                self.respond((200, "{}"))

            def respond(self, answer: Answer) -> None:
                if answer is None:
                    self.close_connection = True
                    return
                data = answer[1].encode("utf-8")
                try:
                    self.send_response(answer[0])
                    self.send_header("content-length", str(len(data)))
                    self.send_header("location", "/elsewhere")
                    for name, value in answer[2].items() if len(answer) > 2 else ():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client had enough

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def bodies(self, ending: str) -> List[Dict[str, Any]]:
        return [json.loads(body) for path, _, body in list(self.requests) if path.endswith(ending)]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Waits for a condition, for as long as a busy machine may take."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > give_up_at:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.01)
