"""`waystation serve` as an operator meets it: its help, its refusals, its end, and what a client finds behind it."""

import signal
import socket
from pathlib import Path

import pytest

from tests.cli.programs import URL, Program, Shop

#: Of the words of a port in a URL, the one that lets the system choose.
ANY = "tcp://127.0.0.1:0"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def address_of(server: Program) -> str:
    """Where a server says that it listens."""
    return server.until("serving ").split()[-1]


def test_its_help_tells_a_new_user_what_to_type(shop: Shop) -> None:
    text = " ".join(shop.type("serve", "--help", env={"COLUMNS": "200"}).stdout.split())
    assert "waystation serve sqlite:///shop.db --listen tcp://127.0.0.1:7400" in text
    assert 'Bus("tcp://HOST:7400")' in text  # what clients then write
    assert all(option in text for option in ("tls_cert", "tls_key", "token_file"))


@pytest.mark.parametrize("columns", ["80", "200"])
def test_its_help_cuts_no_word(shop: Shop, columns: str) -> None:
    assert "…" not in shop.type("serve", "--help", env={"COLUMNS": columns}).stdout


def test_clients_have_what_the_store_has_until_sigterm_ends_the_server_with_0(shop: Shop) -> None:
    with shop.start("serve", URL, "--listen", ANY) as server:
        address = address_of(server)
        sent = shop.type("publish", address, "orders.placed", '{"order_id": "A-1"}')
        assert sent.stdout.endswith("FLUSHED\n")
        assert "orders.placed" in shop.type("topics", address).stdout
        assert "server" in shop.type("doctor", address).stdout
        server.send(signal.SIGTERM)
        assert server.end() == 0, server.text
    assert "stopped" in server.lines[-1]
    assert "A-1" in shop.type("tail", URL, "orders.placed").stdout


def test_ctrl_c_ends_it_too(shop: Shop) -> None:
    with shop.start("serve", URL, "--listen", ANY) as server:
        address_of(server)
        server.send(signal.SIGINT)
        assert server.end() == 0, server.text


def test_a_program_s_own_bus_can_be_served_by_its_place(shop: Shop) -> None:
    with shop.start("serve", "shop:bus", "--listen", f"unix://{shop.folder}/shop.sock") as server:
        address = address_of(server)
        shop.type("publish", address, "orders.placed", '{"order_id": "A-2"}')
        server.send(signal.SIGTERM)
        assert server.end() == 0, server.text
    assert "charging" not in server.text  # its handlers do not run
    assert not (shop.folder / "shop.sock").exists()


def test_a_worker_handles_what_was_published_through_the_server(shop: Shop) -> None:
    source = shop.folder / "shop.py"
    with shop.start("serve", URL, "--listen", ANY) as server:
        address = address_of(server)
        source.write_text(source.read_text().replace(URL, address))
        with shop.start("run", "shop:bus", "--processes", "2") as worker:
            worker.until("ready")
            shop.type("publish", address, "orders.placed", '{"order_id": "A-3"}')
            worker.until("charged A-3")
            worker.send(signal.SIGTERM)
            assert worker.end() == 0, worker.text


@pytest.mark.parametrize(
    ("listen", "sentence"),
    [
        ("7400", "'7400' is not a URL"),
        ("tcp://127.0.0.1", "write tcp://host:7400"),
        ("http://127.0.0.1:7400", "a server's address is a URL such as tcp://127.0.0.1:7400"),
        ("tcp://127.0.0.1:0?tokn=x", "did you mean 'token'?"),
        ("tcp://127.0.0.1:0?token=short", "a token has at least 16 characters"),
        ("tcp://127.0.0.1:0?tls_cert=nowhere.pem", "'nowhere.pem' cannot be read"),
        ("tcp://0.0.0.0:0", "lacks TLS (?tls_cert=FILE&tls_key=FILE) and a token"),
        ("unix://run/shop.sock", "write unix:///run/shop.sock"),
    ],
)
def test_a_wrong_address_is_refused_in_one_sentence(shop: Shop, listen: str, sentence: str) -> None:
    refused = shop.type("serve", URL, "--listen", listen, status=2)
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("radish://localhost", "no transport has the scheme 'radish'"),
        ("shop:bsu", "did you mean 'bus'?"),
        ("./shop.db", "neither a URL nor MODULE:BUS"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(shop: Shop, url: str, sentence: str) -> None:
    assert sentence in shop.type_outside("serve", url, "--listen", ANY, status=2).stderr


def test_an_address_in_use_is_told_as_that(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = shop.type("serve", URL, "--listen", f"tcp://127.0.0.1:{port}", status=2)
    assert "the address is in use; another server may be running there" in refused.stderr


def test_a_socket_in_use_is_told_as_that(shop: Shop) -> None:
    listen = f"unix://{shop.folder}/shop.sock"
    with shop.start("serve", URL, "--listen", listen) as server:
        address_of(server)
        assert "in use" in shop.type("serve", URL, "--listen", listen, status=2).stderr


def test_a_client_of_nobody_is_told_so_by_its_deadline(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    refused = shop.type("topics", f"tcp://127.0.0.1:{port}?connect_timeout=200ms", status=1)
    assert "nobody listens there; is the server running?" in refused.stderr
