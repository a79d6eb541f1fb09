"""Messages of failures: what a file says in them cannot steer a terminal or fill a disk."""

from milepost.errors import CheckpointError, Mismatch, checkpoint_error


def test_a_message_is_fit_to_print_whatever_a_file_put_into_it() -> None:
    error = Mismatch("unexpected: \x1b]0;pwned\x07\x9b2J\u202ew\nsecond line\tß")
    assert str(error) == "unexpected: ?]0;pwned??2J?w\nsecond line\tß"
    assert str(checkpoint_error("mismatch", str(error))) == str(error)


def test_a_message_has_an_end() -> None:
    text = str(CheckpointError("n" * 1_000_000))
    assert text.endswith("n [990,000 characters more]")
    assert len(text) < 10_100
