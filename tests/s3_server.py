"""An S3-compatible server on a free port of this machine, which notes what was sent and can stop answering."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import boto3
import fsspec
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "boards"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the server's own name for it
        pass


class S3Server:
    """moto's server with one bucket; `sent` has the path of each object that is there, in order."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_full = threading.Event()
        self._most: int | None = None
        self._goes_on = threading.Event()
        self._lock = threading.Lock()
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def hold_after(self, most: int) -> None:
        """Leave every object after so many more unanswered; is_full is set when the first of them comes."""
        self._goes_on.clear()
        self._most = most

    def answer_again(self) -> None:
        self._most = None
        self._goes_on.set()

    def environment(self) -> dict[str, str]:
        return {**CREDENTIALS, "FSSPEC_S3_ENDPOINT_URL": self.url}

    def client(self) -> Any:
        names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
        return boto3.client("s3", endpoint_url=self.url, **dict(zip(names, CREDENTIALS.values(), strict=True)))

    def stored(self) -> list[str]:
        return [item["Key"] for item in self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def __enter__(self) -> S3Server:
        self._thread.start()
        self.client().create_bucket(Bucket=BUCKET)
        fsspec.config.conf["s3"] = {"endpoint_url": self.url, "key": "a", "secret": "b"}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answer_again()
        del fsspec.config.conf["s3"]
        self.client().delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in self.stored()]})
        self.client().delete_bucket(Bucket=BUCKET)  # moto keeps its buckets as long as the process lives
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        is_object = environ["REQUEST_METHOD"] == "PUT" and path.strip("/") != BUCKET
        is_held = is_object and self._is_too_much()
        if is_held:
            self.is_full.set()
            self._goes_on.wait()
        answer: Iterable[bytes] = self._application(environ, start_response)
        if is_object and not is_held:
            self.sent.append(path)
        return answer

    def _is_too_much(self) -> bool:
        with self._lock:
            if self._most is None or self._most > 0:
                self._most = None if self._most is None else self._most - 1
                return False
            return True
