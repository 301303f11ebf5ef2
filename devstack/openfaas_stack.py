"""The flow `openfaas`: bucket notification -> trigger -> workers of the OpenFaaS function.

The store is Ceph or moto. Events take the same path as in production: S3 -> notification -> HTTP ->
inbox.
"""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import closing

from devstack.build_context import REPOSITORY, assemble
from devstack.processes import Process, free_port
from devstack.stack import WORKERS, LocalStack
from rollcall.core.settings import Settings
from rollcall.queues.open_queue import open_queue
from rollcall.trigger.advertised import normal_url
from rollcall.trigger.notifications import topic_name

DATABASE_FILE = "stack.sqlite3"
"""It is deleted at the end, so its name differs from inbox.sqlite3, the default of DATABASE_URL. A
user may name a folder with a real database."""


class OpenFaasStack(LocalStack):
    """A store, the workers of the function, and the trigger."""

    parts = "store, function and trigger"

    app = "devstack.function_server:from_environment()"
    """The application that gunicorn serves, as `module:callable`."""

    workers = WORKERS

    @property
    def trigger_url(self) -> str:
        return f"http://127.0.0.1:{self._trigger_port}"

    @property
    def topic(self) -> str:
        return topic_name(self.settings.input_bucket, normal_url(self.trigger_url))

    def start_function(self) -> Process:
        """Start gunicorn. It may be started again after it was stopped."""
        # This process keeps the listening socket open, so calls wait in it during a restart.
        fd = self._socket.fileno()
        argv = [
            *("-m", "gunicorn", "--workers", str(self.workers)),
            *("--bind", f"fd://{fd}", "--timeout", str(self.call_limit_s)),
            *("--no-control-socket", self.app),
        ]
        # Several workers run at the same time, so more threads would only compete for the cores.
        extra = {
            "FUNCTION_CONTEXT": str(self.folder / "context"),
            "OPENBLAS_NUM_THREADS": "1",
            # `rollcall` is installed in the environment, but `devstack` is not.
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(REPOSITORY), self._environ.get("PYTHONPATH")))
            ),
        }
        return self._start("function", argv, self._gateway + "/healthz", extra, (fd,))

    def start_trigger(self) -> Process:
        script = str(REPOSITORY / "trigger_openfaas.py")
        argv = [script, "--register", "--via", self._store.via, "--advertise", self.trigger_url]
        return self._start("trigger", argv, self.trigger_url + "/healthz")

    @property
    def pages_url(self) -> str:
        return f"http://{self.settings.web_listen}"

    def start_pages(self) -> Process:
        """Start the pages, which are a program of their own. The flow does not need them."""
        argv = ["-m", "rollcall", "web"]
        return self._start("pages", argv, self.pages_url + "/static/style.css")

    def _flow_defaults(self) -> dict[str, str]:
        return {
            "OPENFAAS_FUNCTION": Settings().openfaas_function,
            "FUNCTION_HMAC_KEY": secrets.token_hex(32),
            "TRIGGER_TOKEN": secrets.token_hex(16),
            "MAX_INFLIGHT": str(self.workers),
            "WEB_LISTEN": f"127.0.0.1:{free_port()}",
        }

    def _flow_settings(self) -> dict[str, str]:
        self._trigger_port = free_port()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._resources.callback(self._socket.close)
        return {
            "OPENFAAS_GATEWAY": self._gateway,
            "TRIGGER_LISTEN": f"127.0.0.1:{self._trigger_port}",
            "DATABASE_URL": f"sqlite:///{self.folder / DATABASE_FILE}",
        }

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._delete_database()

    def _delete_database(self) -> None:
        """Delete work, index, faces and log, which are about a store that is gone."""
        database = self.folder / DATABASE_FILE
        for suffix in ("", "-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)

    def _prepare(self) -> None:
        with closing(open_queue(self.settings)) as queue, queue.own():
            # `own` raises an error if another trigger uses this folder. An earlier stack that was
            # killed has left its database.
            self._delete_database()
        assemble(self.folder / "context")

    def _start_flow(self) -> None:
        self.function = self.start_function()
        self.trigger = self.start_trigger()

    @property
    def _gateway(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"
