"""contract(): from anywhere, in a kernel and in a process; and what it says when it cannot."""

import subprocess
import sys

import grpc
import pytest

from helpers import contract, contracts, serve

PAYMENTS = "helpers/shop/payments.proto"


def test_messages_and_services():
    messages, services = contract(PAYMENTS)
    assert messages.Order(order="order-1").SerializeToString() == b"\n\x07order-1"
    stub = services.PaymentsStub(grpc.insecure_channel("127.0.0.1:1"))
    assert callable(stub.Charge)
    assert contract(PAYMENTS) == (messages, services)


def test_from_any_folder_and_without_a_trace_in_the_path(tmp_path):
    program = (
        "import sys; before = list(sys.path)\n"
        "from helpers import contract\n"
        'print([m.__name__ for m in contract("helpers/shop/bank.proto")])\n'
        "assert [p for p in sys.path if 'grpc_tools' not in p] == before, sys.path"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.split() == [
        "['helpers.shop.bank_pb2',",
        "'helpers.shop.bank_pb2_grpc']",
    ], ran.stderr
    assert not ran.stderr


def course_with(tmp_path, monkeypatch, name, text):
    monkeypatch.setattr(contracts, "ROOT", tmp_path)
    (tmp_path / name).write_text(text)
    return name


def test_no_such_file():
    with pytest.raises(FileNotFoundError, match="from the course's folder"):
        contract("payments.proto")


def test_a_contract_that_cannot_be_read_is_named_with_its_line(tmp_path, monkeypatch):
    path = course_with(
        tmp_path, monkeypatch, "torn.proto", 'syntax = "proto3";\nmessage Torn {'
    )
    with pytest.raises(ValueError, match=r"^torn\.proto, line 2: Reached end of input"):
        contract(path)
    assert str(tmp_path) not in sys.path


def test_every_mistake_of_a_contract_is_told(tmp_path, monkeypatch):
    text = (
        'syntax = "proto3";\nimport "nope.proto";\nmessage Note { strin text = 1; }\n'
    )
    path = course_with(tmp_path, monkeypatch, "wrong.proto", text)
    with pytest.raises(ValueError) as refused:
        contract(path)
    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == [
        "nope.proto",
        "wrong.proto, line 2",
        "wrong.proto, line 3",
    ]


def test_a_changed_contract_needs_a_new_kernel(tmp_path, monkeypatch):
    text = 'syntax = "proto3";\npackage changing;\nmessage Note { string text = 1; }\n'
    path = course_with(tmp_path, monkeypatch, "changing.proto", text)
    messages, _ = contract(path)
    assert contract(path)[0] is messages
    (tmp_path / path).write_text(text.replace("text = 1", "words = 1"))
    with pytest.raises(RuntimeError, match="restart the kernel"):
        contract(path)


def test_a_folder_that_the_compiler_cannot_read(tmp_path, monkeypatch):
    folder = tmp_path / "Übung"
    folder.mkdir()
    path = course_with(folder, monkeypatch, "folder.proto", 'syntax = "proto3";\n')
    with pytest.raises(RuntimeError, match="move the course"):
        contract(path)


# -- From a text ------------------------------------------------------------------------

NOTE = 'syntax = "proto3";\npackage notes;\nmessage Note { string text = 1; }\n'
NOTES = "service Notes { rpc Keep(Note) returns (Note); }\n"


def test_texts_may_say_different_things_of_one_message():
    ours, _ = contract(text=NOTE)
    theirs, _ = contract(text=NOTE.replace("text = 1", "text = 2"))
    packed = [m.Note(text="hi").SerializeToString() for m in (ours, theirs)]
    assert packed == [b"\n\x02hi", b"\x12\x02hi"]
    assert ours.Note.FromString(packed[1]).text == ""
    assert contract(text=NOTE)[0] is ours


def test_a_service_from_a_text_is_served_and_called():
    messages, services = contract(text=NOTE + NOTES)

    class Notes(services.NotesServicer):
        def Keep(self, note, context):
            return messages.Note(text=note.text.upper())

    service = serve(Notes())
    try:
        with grpc.insecure_channel(service.address) as channel:
            kept = services.NotesStub(channel).Keep(messages.Note(text="hi"), timeout=2)
        assert (service.name, kept.text) == ("notes", "HI")
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NOTE.replace("= 1;", "= 1"), r'^line 3: Expected ";"\.$'),
        (NOTE.replace("string", "strin"), '^line 3: "strin" is not defined.$'),
        (
            NOTE + 'import "other.proto";',
            "^other.proto: File not found.\nline 4: Import",
        ),
        (NOTE.replace("syntax", "// syntax"), "^it must begin with its version"),
        ("hello", "^it must begin with its version"),
    ],
)
def test_what_is_wrong_with_a_text_is_told_by_its_line(text, says, capfd):
    with pytest.raises(ValueError, match=says):
        contract(text=text)
    assert capfd.readouterr() == ("", "")


def test_a_path_or_a_text():
    for wrong in ((), (PAYMENTS,)):
        with pytest.raises(TypeError, match="either a path or a text"):
            contract(*wrong, text=NOTE if wrong else None)
    with pytest.raises(TypeError, match="a text, not a int"):
        contract(text=5)
