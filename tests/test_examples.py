"""The examples, run as their READMEs say; and that a failure is told as one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.stage import free_port

ROOT = Path(__file__).parent.parent


def run(module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", module],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_services_talk_to_each_other_with_no_broker() -> None:
    done = run("examples.direct")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "orders | order A-3 is certain to be: RECEIVED",
        "prices | A-3 wants tea",
        "prices | there is tea again",
        "orders | asked, and awaited: Price(sku='tea', amount=9.5)",
        "orders | asked, and called back: Price(sku='milk', amount=2.0)",
        "orders | asked from blocking code: Price(sku='milk', amount=2.0)",
        "--- everything arrived",
    ):
        assert line in done.stdout


@pytest.mark.timeout(60)  # starts five processes, one after the other
def test_a_store_is_served_to_a_producer_and_a_worker_through_a_restart() -> None:
    done = run("examples.served")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "producer | 400 orders are certain to be FLUSHED" in done.stdout
    assert "worker | " in done.stdout
    assert done.stdout.count("serving sqlite at tcp://127.0.0.1:") == 2
    assert re.search(r"entered: +Books\(rows=400, orders=400, cents=43800\): the same", done.stdout)


def test_an_order_service_that_finds_nobody_says_so_and_fails() -> None:
    address = f"tcp://127.0.0.1:{free_port()}?connect_timeout=200ms"
    done = run("examples.direct.orders", SHOP_ADDRESS=address)
    assert done.returncode == 1
    assert "something is wrong: " in done.stderr
    assert "nobody listens there" in done.stderr


@pytest.mark.parametrize(
    "readme", sorted((ROOT / "examples").glob("*/README.md")), ids=lambda file: file.parent.name
)
def test_a_readme_names_every_file_and_only_commands_that_there_are(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    files = {file.name for file in readme.parent.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"^\| `([\w.]+\.py)`", text, re.MULTILINE)) == files
    targets = re.findall(r"\$ make ([\w-]+)", text)
    assert targets
    assert all(f"\n{target}: " in (ROOT / "Makefile").read_text(encoding="utf-8") for target in targets)
    for module in re.findall(r"python -m ([\w.]+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
