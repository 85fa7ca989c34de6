"""The next service of the chain, as its caller sees it."""

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from .problems import KINDS, Problem

# What a call to a neighbour can end in, other than success.
FAILURES = (402, 502, 503, 504)


class Neighbour:
    """Another service: its ``name`` for people, its ``url``, and a ``timeout`` in seconds."""

    def __init__(self, name, url, timeout):
        if not isinstance(url, str) or not url.startswith("http"):
            raise ValueError(f"{url!r} is no address for {name}: give a service's .url")
        if not isinstance(timeout, int | float) or not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: give a number of seconds above 0")
        self.name, self.url, self.timeout = name, url.rstrip("/"), timeout
        self._session = requests.Session()  # keeps connections open between calls
        self._session.trust_env = False  # services talk directly, never through a proxy
        self._session.mount("http://", HTTPAdapter(pool_maxsize=64))

    def post(self, path, body):
        """Post ``body`` as JSON and return the JSON object that comes back.

        Raises a problem: 402 the neighbour's refusal, passed on; 503 it cannot be reached, so
        nothing was done; 504 no answer within the timeout, 502 any other answer or none: then
        nobody here knows whether the work was done.
        """
        try:
            reply = self._session.post(self.url + path, json=body, timeout=self.timeout)
        except requests.Timeout:
            detail = f"{self.name} gave no answer within {self.timeout:g} s."
            raise Problem(504, detail) from None
        except requests.RequestException as error:
            reason = getattr(error.args[0], "reason", None) if error.args else None
            if isinstance(reason, NewConnectionError):
                raise Problem(503, f"{self.name} cannot be reached.") from None
            raise Problem(502, f"{self.name} hung up without an answer.") from None
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        status = reply.status_code
        if not isinstance(answer, dict):
            raise Problem(502, f"{self.name} answered {status} without a JSON object.")
        if reply.ok:
            return answer
        detail = answer.get("detail") or reply.reason
        if status == 402:
            kind = str(answer.get("type"))
            kind = kind.removeprefix(KINDS) if kind.startswith(KINDS) else None
            raise Problem(402, f"{detail}", kind=kind)
        raise Problem(502, f"{self.name} answered {status}: {detail}")
