"""One name for each service, however it is written, and how the name is shown."""

_NAMES = {"fraud check": "fraud", "e-mail": "email"}
_LABELS = {"fraud": "Fraud check"}


def service_name(words: str) -> str:
    """The name under which a service is known: "Fraud check" is "fraud"."""
    words = " ".join(words.split()).lower()
    return _NAMES.get(words, words)


def label(name: str) -> str:
    """A service's name as readers see it: "fraud" is "Fraud check", "payments" is "Payments"."""
    return _LABELS.get(service_name(name)) or name[:1].upper() + name[1:]
