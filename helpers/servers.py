"""The two servers that services run on: waitress for WSGI apps, grpcio's own for gRPC servicers.

Both have a bounded thread pool, listen on the loopback interface only, and behave the same in the
kernel and in a process of their own.
"""

import logging
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TextIO

from helpers import faults as fault_injection
from helpers import tracing
from helpers.faults import Faults
from helpers.grpc_handlers import wrapped

HOST = "127.0.0.1"

# What servers report goes to the service's own log; a notebook's output is for the learner's cell.
for noisy in ("waitress", "waitress.queue", "grpc._server"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL + 1)


class HttpServer:
    """A WSGI app on waitress: keep-alive, ``threads`` requests at a time, the rest wait their turn."""

    def __init__(self, app, name: str, threads: int, faults: Faults, log: TextIO):
        self.app, self.name, self.threads, self.faults, self.log = (
            app,
            name,
            threads,
            faults,
            log,
        )

    def start(self, port: int) -> int:
        """Listen on the port (0: any free one) and return its number. Raises OSError when taken."""
        import waitress

        app = tracing.wsgi(
            fault_injection.wsgi(_logged(self.app, self.log), self.faults), self.name
        )
        self._server = waitress.create_server(
            app,
            map={},  # each server has sockets of its own
            host=HOST,
            port=port,
            threads=self.threads,
            connection_limit=1000,  # waitress's 100 would leave the 101st client waiting for ever
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"serve {self.name}", daemon=True
        )
        self._thread.start()
        return int(self._server.effective_port)

    def _run(self) -> None:
        from waitress import wasyncore

        server = self._server
        while (
            not self._stopping.is_set()
        ):  # with poll, as select knows no descriptor above 1023
            wasyncore.loop(timeout=1, use_poll=True, map=server._map, count=1)
        for connection in list(server._map.values()):
            if (
                connection is server
            ):  # whose own close() would close the trigger as well
                wasyncore.dispatcher.close(server)
            elif connection is not server.trigger:
                connection.handle_close()

    def stop(self) -> None:
        """Refuse new connections, close the open ones. A request in work is worked off, unanswered."""
        self._stopping.set()
        self._server.pull_trigger()  # wakes the thread that polls the sockets: it closes them
        self._thread.join(5)
        self._server.task_dispatcher.shutdown(timeout=0)
        # What is still in work must not write to the trigger once it is closed.
        self._server.pull_trigger = lambda: None
        self._server.trigger.close()


def _logged(app, log: TextIO):
    """Send what the app logs to the service's log, and nowhere else."""
    if isinstance(getattr(app, "logger", None), logging.Logger):
        from flask.logging import default_handler  # writes to the request's wsgi.errors

        app.logger.addHandler(default_handler)
        app.logger.propagate = False

    def logged(environ, start_response):
        environ["wsgi.errors"] = log
        try:
            return app(environ, start_response)
        except Exception:  # Flask logs what a route raises by itself
            traceback.print_exc(file=log)
            raise

    return logged


class GrpcServer:
    """A gRPC servicer on grpcio's server, ``threads`` calls at a time, the rest wait their turn."""

    def __init__(self, servicer, name: str, threads: int, faults: Faults, log: TextIO):
        self.servicer, self.name, self.threads, self.faults, self.log = (
            servicer,
            name,
            threads,
            faults,
            log,
        )

    def start(self, port: int) -> int:
        """Listen on the port (0: any free one) and return its number. Raises OSError when taken."""
        import grpc

        self._pool = ThreadPoolExecutor(
            self.threads, thread_name_prefix=f"serve {self.name}"
        )
        self._server = grpc.server(
            self._pool,
            interceptors=[
                tracing.grpc_interceptor(self.name),
                fault_injection.grpc_interceptor(self.faults),
                _grpc_logged(self.log),
            ],
            options=[("grpc.so_reuseport", 0)],
        )
        registrar(self.servicer)(self.servicer, self._server)
        try:
            port = self._server.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError as error:
            self._pool.shutdown(wait=False)
            raise OSError(f"port {port} is taken") from error
        self._server.start()
        return port

    def stop(self) -> None:
        """Refuse new calls and cancel those in work."""
        self._server.stop(grace=None).wait(5)
        self._pool.shutdown(wait=False)


def registrar(servicer):
    """The generated ``add_…Servicer_to_server`` for this servicer, or None when it is not one."""
    for base in type(servicer).__mro__:
        add = getattr(
            sys.modules.get(base.__module__), f"add_{base.__name__}_to_server", None
        )
        if add is not None:
            return add
    return None


def _grpc_logged(log: TextIO):
    import grpc

    class Interceptor(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            handler = continuation(details)
            if handler is None:
                return None
            return wrapped(handler, many if handler.response_streaming else one)

    @contextmanager
    def noting(context):
        try:
            yield
        except Exception:
            if (
                context.code() is None
            ):  # not an abort, which is an answer and no accident
                traceback.print_exc(file=log)
            raise

    def one(behaviour):
        def logged(request, context):
            with noting(context):
                return behaviour(request, context)

        return logged

    def many(behaviour):
        def logged(request, context):
            with noting(context):
                yield from behaviour(request, context)

        return logged

    return Interceptor()


def server_for(
    app, name: str | None, threads: int, faults: Faults, log: TextIO
) -> HttpServer | GrpcServer:
    """The server that fits the app. Raises TypeError or ValueError saying what to give instead."""
    if isinstance(app, type):
        raise TypeError(
            f"{app.__name__} is a class; serve an instance of it: serve({app.__name__}())"
        )
    if registrar(app) is not None:
        name = name or type(app).__name__.removesuffix("Servicer").lower()
        return GrpcServer(app, name, threads, faults, log)
    if not callable(app):
        raise TypeError(
            f"serve() takes a Flask app, a gRPC servicer, or an import string such as "
            f"'helpers.shop.payments:app'; this is a {type(app).__name__}"
        )
    name = name or getattr(app, "name", None) or getattr(app, "__name__", None)
    if not name or name == "__main__":
        raise ValueError(
            'the service has no name: make it Flask("payments"), or serve(app, name="payments")'
        )
    return HttpServer(app, name, threads, faults, log)
