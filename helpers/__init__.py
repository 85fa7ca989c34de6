"""Small helpers that keep out of the way of the subject: start a service, draw a timeline, measure a load.

The notebooks import everything from here. Each module can be read on its own; what is heavy to import
(matplotlib, ipywidgets, grpc, redis, OpenTelemetry) is imported when it is first used.
"""

import os

# gRPC's C core writes straight to stderr what Python hears as an exception anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from helpers.broker import start_broker
from helpers.checkup import check_environment
from helpers.claims import claim, last_measured
from helpers.contracts import contract
from helpers.controls import choice, slider
from helpers.decision import decision
from helpers.development import development_server
from helpers.explore import explore
from helpers.figures import ASYNC, SYNC, chart, colour, show
from helpers.folders import private_folder
from helpers.live import breaker as show_breaker
from helpers.load import at_once, closed_loop, open_loop, session
from helpers.load_figure import load_chart
from helpers.predict import mark_prediction, predict, predicted, reveal
from helpers.programs import run_program
from helpers.progress_view import show_progress
from helpers.quiz import quiz
from helpers.registry import stop_all
from helpers.services import serve
from helpers.solutions import solution
from helpers.streams import backlog, run_workers
from helpers.system import system
from helpers.timeline import timeline
from helpers.wiretap import wiretap

__all__ = [
    "ASYNC",
    "SYNC",
    "at_once",
    "backlog",
    "chart",
    "check_environment",
    "choice",
    "claim",
    "closed_loop",
    "colour",
    "contract",
    "decision",
    "development_server",
    "explore",
    "last_measured",
    "load_chart",
    "mark_prediction",
    "open_loop",
    "predict",
    "predicted",
    "private_folder",
    "quiz",
    "reveal",
    "run_program",
    "run_workers",
    "serve",
    "session",
    "show",
    "show_breaker",
    "show_progress",
    "slider",
    "solution",
    "start_broker",
    "stop_all",
    "system",
    "timeline",
    "wiretap",
]
