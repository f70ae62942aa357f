"""What a run costs: the table in the package, the user's own, and the estimate of the calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coder_engine.errors import TextsError
from coder_export.generate.llm.prices import Estimate, Price, bills_nobody, read_price
from coder_export.generate.llm.questions import Question, messages

CAT = Question(kind="attribute", classes=("cat",), wanted=6)
PAIR = Question(kind="pair", classes=("cat", "elk"), wanted=4)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "prices.json"


def test_the_table_of_the_package() -> None:
    price = read_price("gpt-4o-mini", None)
    assert price.known
    assert 0 < price.prompt < price.completion


def test_every_model_of_the_package_has_a_price() -> None:
    import coder_export.generate.llm as package

    entries = json.loads((Path(str(package.__file__)).parent / "prices.json").read_text("utf-8"))
    assert len(entries) > 1
    assert all(read_price(model, None).known for model in entries if model != "about")


def test_the_user_has_a_table(table: Path) -> None:
    table.write_text('{"mine": [1, 2.5], "free": [0, 0]}', "utf-8")
    assert read_price("mine", table) == Price(prompt=1.0, completion=2.5)
    assert read_price("free", table) == Price(prompt=0.0, completion=0.0, known=True)


def test_an_unknown_model_counts_as_free(table: Path) -> None:
    table.write_text("{}", "utf-8")
    for own in (table, None):
        price = read_price("mine", own)
        assert price == Price(prompt=0.0, completion=0.0, known=False)
        assert price((10**9, 10**9)) == 0.0


def test_a_gateway_names_the_vendor_before_the_model(table: Path) -> None:
    table.write_text('{"mine": [1, 2], "their/mine": [3, 4], "vendor/other": [5, 6]}', "utf-8")
    for model in ("mine", "vendor/mine", "https://gateway/vendor/mine"):
        assert read_price(model, table) == Price(prompt=1.0, completion=2.0)
    assert read_price("their/mine", table) == Price(prompt=3.0, completion=4.0)
    assert not read_price("other", table).known
    assert read_price("openai/gpt-4.1", None) == read_price("gpt-4.1", None)


@pytest.mark.parametrize(
    ("host", "free"),
    [
        *((host, True) for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "0.0.0.0", "[::1]", "gpu7")),
        *((host, True) for host in ("10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.9", "[fd12::3]")),
        *((host, True) for host in ("studio.local", "studio.local.", "user:api.openai.com@localhost")),
        *((host, False) for host in ("api.openai.com", "openrouter.ai", "8.8.8.8", "172.32.0.1", "172.15.0.1")),
        *((host, False) for host in ("[2606:4700::6810]", "local.ai", "127.0.0.1.nip.io", "localhost@openrouter.ai")),
    ],
)
def test_who_bills_nobody(host: str, free: bool) -> None:
    assert bills_nobody(f"http://{host}/v1") == bills_nobody(f"https://{host}:8000/v1") == free


def test_openai_bills() -> None:
    assert not bills_nobody(None)


def test_dollars_a_million_tokens() -> None:
    price = Price(prompt=2.0, completion=8.0)
    assert price((1_000_000, 0)) == 2.0
    assert price((0, 1_000_000)) == 8.0
    assert price((500_000, 250_000)) == 3.0


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(TextsError, match=r"--prices .*absent\.json: cannot be read \(No such file"):
        read_price("mine", tmp_path / "absent.json")
    with pytest.raises(TextsError, match=r"cannot be read \(Is a directory"):
        read_price("mine", tmp_path)


@pytest.mark.parametrize("content", [b"", b"mine: 1", b"\xff\xfe\x00", b"[" * 100_000, b'{"mine": ' + b"9" * 9_999])
def test_a_table_that_is_no_json(table: Path, content: bytes) -> None:
    table.write_bytes(content)
    with pytest.raises(TextsError, match=r"prices\.json: not JSON .*; write .\"model\": \[prompt, completion\]."):
        read_price("mine", table)


@pytest.mark.parametrize(
    "entry",
    ["1", "null", '"1, 2"', "[1]", "[1, 2, 3]", '[1, "2"]', "[true, 1]", "[-1, 2]", "[NaN, 1]", "[1, Infinity]", "{}"],
)
def test_an_entry_that_is_no_price(table: Path, entry: str) -> None:
    table.write_text(f'{{"mine": {entry}}}', "utf-8")
    with pytest.raises(TextsError, match=r"expected 'mine': \[dollars a million prompt tokens, .*\], got "):
        read_price("mine", table)


@pytest.mark.parametrize("content", ["[1, 2, 3]", '"mine"', "5", "null"])
def test_a_table_that_is_no_object_is_told_as_it_is(table: Path, content: str) -> None:
    table.write_text(content, "utf-8")
    with pytest.raises(TextsError, match="expected 'mine'") as caught:
        read_price("mine", table)
    assert str(caught.value).endswith(f"got {json.loads(content)}")


def test_the_estimate_counts_calls_and_tokens() -> None:
    estimate = Estimate().add([[CAT], [PAIR, PAIR]])
    assert estimate.calls == 2
    letters = [sum(len(message["content"]) for message in messages(call)) for call in ([CAT], [PAIR, PAIR])]
    assert estimate.prompt_tokens == sum(count // 4 for count in letters)
    assert estimate.completion_tokens == (6 * 16 + 20) + 2 * (2 * 4 * 18 + 20)
    assert estimate.money(Price(prompt=1e6, completion=0.0)) == estimate.prompt_tokens


def test_more_calls_add_up_and_none_costs_nothing() -> None:
    assert Estimate().add([]).money(Price(prompt=1.0, completion=1.0)) == 0.0
    assert Estimate().add([[CAT]]).add([[PAIR]]) == Estimate().add([[CAT], [PAIR]])
    analogues = Estimate().add([[Question(kind="analogous", classes=("cat",), wanted=5)]])
    assert analogues.completion_tokens == 5 * 6 + 20
