"""`milepost serve`: who could be let in by mistake is refused before anything listens."""

import socket
from pathlib import Path

import pytest
from tests.cli._runs import evaluated

from milepost.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(evaluated(tmp_path_factory.mktemp("serve"), 100))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "::"], "add --token, and --allowed-host NAME"),
        (["--host", "::", "--token"], "add --token, and --allowed-host NAME"),
        (["--host", "192.0.2.1", "--allowed-host", "gpu7"], "add --token, and --allowed-host NAME"),
        (["--root-path", "proxy/7"], "a path that begins with /"),
        (["--port", "0"], "at least 1"),
    ],
)
def test_what_is_amiss_is_named(place: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["serve", "--store", place, *words])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_port_in_use_is_one_message_and_no_address(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--store", place, "--port", str(port)]) == 2
    text = capsys.readouterr().err
    assert "name another with --port" in text
    assert "http://" not in text
    assert len(text.splitlines()) == 1


def test_a_store_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--store", str(tmp_path / "none")]) == 2
    assert "expected a store" in capsys.readouterr().err
