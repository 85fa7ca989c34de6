"""The design challenge: a checkout runs on real services through seven scenarios, and is judged.

- `design`: the learner's choice for each of the four steps, with reasons, made into a checkout;
- `checkout`: that checkout, with the code of every step in plain sight;
- `wiring`: what any checkout has to be (lab 8 brings one of the learner's own);
- `stage`, `scenarios`: the services, the customers, and what happens to them;
- `judge`, `verdict`: run it, and count in the services' ledgers what came of it;
- `words`, `figure`, `board`: say it, draw it, and compare all 16 designs.
"""

from helpers.challenge.board import board
from helpers.challenge.design import Design, Undecided, design, designs, keep
from helpers.challenge.judge import Verdict, judge
from helpers.challenge.scenarios import SCENARIOS
from helpers.challenge.stage import CheckoutFailed, Stopped
from helpers.challenge.wiring import Refused

__all__ = [
    "SCENARIOS",
    "CheckoutFailed",
    "Design",
    "Refused",
    "Stopped",
    "Undecided",
    "Verdict",
    "board",
    "design",
    "designs",
    "judge",
    "keep",
]
