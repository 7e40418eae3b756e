import pytest

from holdfast.engine.masking import TEXT_MAX, described, masked


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


def test_a_long_text_is_cut() -> None:
    """A page of HTML does not fill the journal."""
    assert len(masked("x" * 100_000)) == TEXT_MAX + 3


def test_an_exception_is_its_class_and_its_text() -> None:
    """The class tells what a bare text often does not."""
    assert described(TimeoutError()) == "TimeoutError"
    assert described(OSError("token=abc")) == "OSError: token=***"
