"""Messages of failures: what a file says in them cannot steer a terminal or fill a disk."""

from milepost.errors import CheckpointError, Crashed, Mismatch, checkpoint_error


def test_a_message_is_fit_to_print_whatever_a_file_put_into_it() -> None:
    error = Mismatch("unexpected: \x1b]0;pwned\x07\x9b2J\u202ew\ndone: step-9\tß")
    assert str(error) == r"unexpected: \x1b]0;pwned\x07\xc2\x9b2J\xe2\x80\xaew\x0adone: step-9\x09ß"
    assert str(checkpoint_error("mismatch", str(error))) == str(error)


def test_what_a_process_has_printed_keeps_its_lines() -> None:
    assert str(Crashed("exit code 1; the last lines:\n\ta\x1b")) == "exit code 1; the last lines:\n\ta\\x1b"


def test_a_message_has_an_end() -> None:
    text = str(CheckpointError("n" * 1_000_000))
    assert text.endswith("n [990,000 characters more]")
    assert len(text) < 10_100
