import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine import masking
from holdfast.engine.masking import (
    MASK,
    SECRETS_MAX,
    TEXT_MAX,
    described,
    forget_secrets,
    hidden,
    masked,
    masked_value,
    register_secret,
)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    forget_secrets()


@pytest.mark.parametrize(
    "text",
    [
        "GET https://x.test/orders?api_key=S3CRET&symbol=A",
        'body {"apiSecret": "S3CRET", "a": 1}',
        "Authorization: Bearer S3CRET",
        "authorization=Basic S3CRET",
        "https://user:S3CRET@x.test/",
        "X-Auth-Token: S3CRET",
        "signature=S3CRET;",
        "wss://x.test/hub?access_token=S3CRET",
        '{"password": "two S3CRET words"}',
        "{b'X-Api-Key': b'S3CRET'}",
        "[('APCA-API-SECRET-KEY', 'S3CRET')]",
        "'APCA-API-KEY-ID': 'S3CRET'",
        '{\\"device_token\\": \\"S3CRET\\"}',
        "cookie: a=b; session=S3CRET; path=/",
        "username: S3CRET",
        '{"userName": "S3CRET", "a": 1}',
        "login=S3CRET",
        "from S3CRET@example.org",
        "account_number=S3CRET",
        "got eyJhbGciS3CRET.eyJzdWIi.S3CRET back",
        "-----BEGIN EC PRIVATE KEY-----\nS3CRET\n-----END EC PRIVATE KEY-----",
        "my key is sk_live_51HabcS3CRETghijk and that is it",
        "PKS3CRET0123456789AB was refused",
    ],
)
def test_credentials_do_not_survive(text: str) -> None:
    """A credential in a text from outside is masked wherever texts carry them (scenario 95)."""
    assert "S3CRET" not in masked(text)
    assert "***" in masked(text)


def test_what_is_no_credential_stays() -> None:
    """Order ids, symbols and reasons are readable after masking."""
    text = "order 17 of TSLA at 250.25: insufficient funds (code 40310000)"
    assert masked(text) == text
    text = "order 0123456789ab-alpha-17~2, id 61e69015-8549-4bfd-b9c3-01e75843f47d: DAY_BEGAN_TWICE"
    assert masked(text) == text
    text = "desk 'main' has account 'paper-1', not 'main': POSITION_LIMIT position=5 limit=3"
    assert masked(text) == text


@pytest.mark.parametrize(
    "text",
    ["account 5QR12345 is closed", "/v2/accounts/5QR12345/orders", "Account number: 5QR12345"],
)
def test_account_numbers_do_not_survive(text: str) -> None:
    """A brokerage account's number is a person's; desks' own account names are not (48, 95)."""
    assert "5QR12345" not in masked(text)
    assert MASK in masked(text)


def test_a_registered_secret_is_hidden_in_every_form() -> None:
    """As it is, in a URL, in JSON, in a repr and in Basic credentials (scenario 95)."""
    secret = 'pä$$/wörd "x"'
    register_secret(secret)
    for text in (
        f"a {secret} b",
        "GET /?q=p%C3%A4%24%24%2Fw%C3%B6rd%20%22x%22",
        json.dumps({"a": secret}),
        repr(secret),
        ascii(secret),
        base64.b64encode(secret.encode()).decode(),
    ):
        assert MASK in hidden(text), text
        for part in ("$$", "%24", "w\\u00f6rd", "JCQv"):
            assert part not in hidden(text)


def test_a_short_secret_is_hidden_as_a_word() -> None:
    """A user called bob does not take the Bobcat with him."""
    register_secret("bob")
    register_secret("")
    assert hidden("bob bobcat (bob)") == "*** bobcat (***)"


def test_no_part_of_a_secret_is_left_where_a_text_is_cut() -> None:
    """Masking comes before cutting (scenario 95)."""
    register_secret("correct-horse-battery")
    for blanks in range(TEXT_MAX - 30, TEXT_MAX + 5):
        assert "corr" not in masked("." * blanks + "correct-horse-battery")
    assert "bob" not in masked("x " * (2 * TEXT_MAX - 2) + "bob@example.org " * 200)


def test_a_program_that_registers_without_end_is_refused() -> None:
    """The list of secrets is bounded (P9)."""
    for number in range(SECRETS_MAX):
        masking._registered[f"secret-{number}"] = None  # registering builds a pattern each time
    with pytest.raises(ValueError, match=str(SECRETS_MAX)):
        register_secret("one more")
    register_secret("secret-1")
    assert "secret-999" not in masked("a secret-999 here")


def test_values_keep_their_shape() -> None:
    """Numbers and names stay, texts are masked, and what a name gives away is hidden."""
    value = {
        "a": 1,
        "b": [True, None, 1.5, "token=abc"],
        "api_key": {"deep": 1},
        "account_number": 12345678,
        "error": OSError("password=abc"),
        "idempotency_key": "k-1",
        7: b"secret=abc",
    }
    assert masked_value(value) == {
        "a": 1,
        "b": [True, None, 1.5, "token=***"],
        "api_key": MASK,
        "account_number": MASK,
        "error": "OSError: password=***",
        "idempotency_key": "k-1",
        "7": "secret=***",
    }


def test_values_without_end_end() -> None:
    """A list that holds itself is cut at a depth (P9)."""
    value: list[Any] = []
    value.append(value)
    assert MASK in json.dumps(masked_value(value))


_SECRETS = st.text(
    alphabet=st.characters(exclude_characters="*.", exclude_categories=["Cs"]), min_size=6
)
_TEXTS = st.text(max_size=20)


def _holding(secret: str, before: str, after: str, shape: int) -> Any:
    """Return something with a secret in it."""
    text = f"{before}{secret}{after}"
    shapes: list[Any] = [
        text,
        [text, {"a": text}],
        {text: (text,)},
        ValueError(text),
        repr(text),
        json.dumps([text]),
        {"a": {"b": {"c": text.encode()}}},
    ]
    return shapes[shape % len(shapes)]


@given(_SECRETS, _TEXTS, _TEXTS, st.integers(0, 6))
def test_a_registered_secret_never_shows(secret: str, before: str, after: str, shape: int) -> None:
    """Whatever holds it and whatever stands around it (scenario 95)."""
    forget_secrets()
    register_secret(secret)
    shown = json.dumps(masked_value(_holding(secret, before, after, shape)), ensure_ascii=False)
    assert secret not in shown
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in shown


@given(
    st.sampled_from(
        ["api_key=", "token: ", '"password": "', "Authorization: Bearer ", "username=", "X-JWT="]
    ),
    st.from_regex(r"[A-Za-z0-9]{12,30}", fullmatch=True).filter(lambda s: not s.isalpha()),
    _TEXTS,
    st.integers(0, 6),
)
def test_what_looks_like_a_credential_never_shows(
    name: str, secret: str, after: str, shape: int
) -> None:
    """A value behind a name that gives it away is masked in every shape (scenario 95)."""
    forget_secrets()
    shown = json.dumps(masked_value(_holding(f"{name}{secret}", " ", f" {after}", shape)))
    assert secret not in shown


def test_a_long_text_is_cut() -> None:
    """A page of HTML does not fill the journal."""
    assert len(masked("x" * 100_000)) == TEXT_MAX + 3


def test_an_exception_is_its_class_and_its_text() -> None:
    """The class tells what a bare text often does not."""
    assert described(TimeoutError()) == "TimeoutError"
    assert described(OSError("token=abc")) == "OSError: token=***"
