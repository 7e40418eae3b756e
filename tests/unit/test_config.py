"""The configuration: what is read, what is refused and in which words, and what it means."""

import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
import pytest

from holdfast.config import AccountPart, Config, DeskPart, ExecutionPart
from holdfast.domain.policies import GroupRules, Limits, Offsets
from holdfast.errors import ConfigError, InputError

EXAMPLE: Final = Path(__file__).resolve().parents[2] / "examples/holdfast.toml"
KEPT_OUT: Final = re.compile(r"^# (?=\[?[A-Za-z][\w.-]*(\]| = ))", re.MULTILINE)


def parsed(**tables: object) -> Config:
    return Config.parse({"desks": {"alpha": {}}, **tables})


def alpha(**parts: object) -> Config:
    return Config.parse({"desks": {"alpha": parts}})


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def keys(kind: Any, path: str = "") -> set[str]:
    """Return the paths of all keys that a schema has; a name that people choose is a star."""
    if get_origin(kind) is dict:
        return keys(get_args(kind)[1], f"{path}.*")
    for inner in get_args(kind):
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            return keys(inner, path)
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {path}
    hints = get_type_hints(kind)
    return {each for name in kind.__struct_fields__ for each in keys(hints[name], f"{path}.{name}")}


def used(data: object, known: set[str], path: str = "") -> set[str]:
    """Return the paths that data has values at, a chosen name as a star."""
    if not isinstance(data, dict):
        return {path}
    found: set[str] = set()
    for key, each in data.items():
        named = f"{path}.{key}"
        inside = any(one == named or one.startswith(f"{named}.") for one in known)
        found |= used(each, known, named if inside else f"{path}.*")
    return found


def test_the_defaults_are_those_of_a_program_that_trades() -> None:
    """Stale after 60 s, post-only after 15 s, three retries, 15 and 10 bps, half a percent."""
    settings = parsed().settings_of("alpha")
    policies = settings.policies

    assert (policies.stale.after_ms, policies.stale.post_only_ms) == (60_000, 15_000)
    assert settings.retries_max == 3
    assert policies.pricing.of("any") == Offsets(
        offset_mode="bps",
        buy_offset=Decimal(15),
        sell_offset=Decimal(10),
        max_slippage_pct=Decimal("0.5"),
    )
    assert parsed().poll_interval_ms("alpha") == 15_000


def test_how_groups_protect_stands_in_the_file() -> None:
    """Seconds become whole milliseconds; what is left out is as for a desk made in code."""
    groups = {"unprotected_max_seconds": "2.5", "entry_timeout_seconds": 0, "attempts_max": 5}

    assert parsed().policies_of("alpha").groups == GroupRules()
    assert alpha(groups=groups).policies_of("alpha").groups == GroupRules(
        unprotected_max_ms=2_500, attempts_max=5, entry_timeout_ms=0
    )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"attempt_max": 3}, "groups.attempt_max is not known; did you mean 'attempts_max'?"),
        ({"unprotected_max_seconds": 0}, "groups.unprotected_max_seconds is 0; it must be 0.001"),
        ({"attempts_max": 0}, "groups.attempts_max is 0; it must be 1 or more"),
        ({"trail_interval_seconds": -1}, "groups.trail_interval_seconds"),
    ],
)
def test_groups_that_would_protect_nothing_are_refused(groups: Any, message: str) -> None:
    """With the path of the key, and nothing of the file is used."""
    with pytest.raises(ConfigError, match=re.escape(f"desks.alpha.{message}")):
        alpha(groups=groups)


def test_the_example_holds_as_it_stands() -> None:
    """Whoever copies the example has a configuration that works."""
    config = Config.load(EXAMPLE)

    assert list(config.desks) == ["alpha", "beta"]
    assert config.settings_of("alpha").policies.limits.capital == 50_000


def test_the_example_shows_every_key_and_what_it_keeps_out_holds_too(tmp_path: Path) -> None:
    """With its commented keys switched on it is read as well, and then no key is missing."""
    text = KEPT_OUT.sub("", EXAMPLE.read_text(encoding="utf-8"))
    Config.load(written(tmp_path, "all.toml", text))
    known = keys(Config)
    missing = known - used(tomllib.loads(text), known)

    assert {".accounts.*.credentials.*", ".desks.*.limits.symbols.*.position_max"} <= known
    assert not missing, f"examples/holdfast.toml does not show: {sorted(missing)}"


def test_what_the_example_calls_a_default_is_the_default() -> None:
    """A commented value is what holds without it, unless its comment says otherwise."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    section, checked = "", 0
    bare = Config.parse({"accounts": {"main": {}}, "desks": {"alpha": {"account": "main"}}})
    plain = json.loads(msgspec.json.encode(bare))
    for line in lines:
        if head := re.match(r"(?:# )?\[([\w.-]+)\]", line):
            section = head[1]
        match = re.match(r"# (\w+) = (.+)", line)
        if not match or "default" in line or "without it" in line:
            continue
        place = plain
        for name in section.split("."):
            place = place.get(name, {}) if isinstance(place, dict) else {}
        if match[1] in place and place[match[1]] is not None:
            given = tomllib.loads(f"{match[1]} = {match[2]}")[match[1]]
            assert str(given) == str(place[match[1]]), f"{section}.{match[1]}"
            checked += 1
    assert checked > 25


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"jornal": {}}, "jornal is not known; did you mean 'journal'?"),
        (
            {"desks": {"alpha": {"limits": {"order_quantity_mx": 1}}}},
            "desks.alpha.limits.order_quantity_mx is not known; did you mean 'order_quantity_max'?",
        ),
        (
            {"desks": {"alpha": {"limits": {"order_quantity_max": "many"}}}},
            "desks.alpha.limits.order_quantity_max 'many' is not a number",
        ),
        (
            {"desks": {"alpha": {"limits": {"order_quantity_max": 1.5}}}},
            "desks.alpha.limits.order_quantity_max 1.5 is a float; write it as a string",
        ),
        (
            {"desks": {"alpha": {"limits": {"position_max": -1}}}},
            "desks.alpha.limits.position_max is -1; it must be 0 or more",
        ),
        (
            {"desks": {"alpha": {"execution": {"max_retries": Decimal("1.5")}}}},
            "desks.alpha.execution.max_retries is 1.5; it must be a whole number",
        ),
        (
            {"desks": {"alpha": {"execution": {"max_retries": True}}}},
            "desks.alpha.execution.max_retries is True; it must be a whole number",
        ),
        (
            {"desks": {"alpha": {"execution": {"cancel_after_seconds": Decimal("NaN")}}}},
            "desks.alpha.execution.cancel_after_seconds is NaN; it must be a finite number",
        ),
        (
            {"desks": {"alpha": {"execution": {"sweep_seconds": Decimal("0.0001")}}}},
            "desks.alpha.execution.sweep_seconds is 0.0001; it must be 0.001 or more",
        ),
        (
            {"desks": {"alpha": {"execution": {"ack_wait_seconds": 20}}}},
            "desks.alpha.execution: absence_grace_ms is 10000 and ack_wait_ms 20000",
        ),
        (
            {"desks": {"alpha": {"order_management": {"offset_mode": "pips"}}}},
            "desks.alpha.order_management.offset_mode is 'pips'; it must be one of: bps, absolute",
        ),
        (
            {"desks": {"alpha": {"order_management": {"buy_offset": -1}}}},
            "desks.alpha.order_management.buy_offset is -1; it must be 0 or more",
        ),
        ({"desks": {"alpha": {"symbols": "TSLA"}}}, "desks.alpha.symbols is 'TSLA'; it must be a"),
        ({"desks": {"alpha": {"symbols": [1]}}}, "desks.alpha.symbols[0] is 1; it must be a text"),
        ({"desks": {"alpha": 5}}, "desks.alpha is 5; it must be a table"),
        ({"desks": {"alpha": {"account": "mian"}}}, "desks.alpha.account names 'mian', but there"),
        ({"desks": {"alpha": {"symbols": ["X"]}}}, "names 'X', but there is no [instruments.X]"),
        (
            {"desks": {"alpha": {"limits": {"symbols": {"X": {}}}}}},
            "desks.alpha.limits.symbols nam",
        ),
        ({"desks": {"alpha": {"day": {"zone": "Mars/Base"}}}}, "desks.alpha.day: zone is 'Mars/"),
        ({"desks": {"alpha": {"day": {"start": "24:30"}}}}, "desks.alpha.day: time is '24:30'"),
        ({"desks": {}}, "there is no desk; add one, such as [desks.main]"),
        ({"desks": {"al.pha": {}}}, "desks.al.pha: the name becomes part of order ids"),
        ({"desks": {"a" * 25: {}}}, "use 1 to 24 letters"),
        ({"desks": {"unclaimed-x": {}}}, "belongs to orders of no desk"),
        ({"instruments": {"T": {"tick": 0}}}, "instruments.T: tick of T is 0; it must be above"),
        ({"instruments": {"T": {"session": "x"}}}, "instruments.T.session names 'x', but there is"),
        ({"instruments": {"A B": {}}}, "instruments.A B: symbol 'A B' has blanks"),
        ({"sessions": {"x": {"opens": "25:00"}}}, "sessions.x: time is '25:00'"),
        ({"sessions": {"x": {"days": [7]}}}, "sessions.x: days is (7,)"),
        ({"service": {"port": 70_000}}, "service.port is 70000; it must be at most 65535"),
        ({"journal": {"url": ""}}, "journal.url is '', which names no file"),
        ({"accounts": {"m": {"mode": "demo"}}}, "accounts.m.mode is 'demo'; it must be one of"),
        ({"accounts": {"m": {}}}, "desks.alpha.account is missing; write account = ... (m)"),
        (
            {"accounts": {"m": {}}, "desks": {"alpha": {"account": "m", "mode": "paper"}}},
            "desks.alpha has an account and a broker or mode of its own",
        ),
        (
            {"accounts": {"alpha": {}}, "desks": {"alpha": {"mode": "paper"}}},
            "but [accounts.alpha] is another",
        ),
        ({"journal": {"url": "postgresql://h/d"}}, "journal.url begins with postgresql://, and"),
        ({"journal": {"url": "sqlite://x.db"}}, "begins with sqlite://, and such a journal is not"),
        ({"journal": {"url": "sqlite:///"}}, "which names no file; write"),
        ({"accounts": {"m": {"broker": "alpaka"}}}, "accounts.m.broker is 'alpaka'; known are pap"),
        ({"accounts": {"m": {"broker": ""}}}, "accounts.m.broker is ''; known are paper, or write"),
        ({"accounts": {"m": {"mode": "live"}}}, "accounts.m.mode is live, which broker 'paper' d"),
        ({"desks": {"alpha": {"mode": "live"}}}, "desks.alpha.mode is live, which broker 'paper'"),
        ({"desks": {"alpha": {"mode": "off"}}}, "desks.alpha.mode is 'off'; it must be one of"),
        ({"accounts": {"m": {"currency": ""}}}, "accounts.m.currency is ''; write it in capitals"),
        ({"accounts": {"m": {"currency": "usd"}}}, "accounts.m.currency is 'usd'; write it in c"),
        ({"instruments": {"T": {"currency": "usd"}}}, "instruments.T.currency is 'usd'; write"),
        (
            {"accounts": {"m": {"credentials": {"k_env": "A", "k_file": "b"}}}},
            "accounts.m.credentials.k_file stands beside another place for k",
        ),
        ({"accounts": {"m": {"credentials": {"_env": "A"}}}}, "_env would hold a secret itself"),
        ({"accounts": {"m": {"credentials": {"k_file": ""}}}}, "0 characters that are no path"),
        ({"accounts": {"m": {"options": {"x": object()}}}}, "options.x is a object; it must be"),
        (
            {"instruments": {"T": {}}, "desks": {"alpha": {"symbols": ["T", "T"]}}},
            "desks.alpha.symbols names 'T' twice",
        ),
        (
            {"desks": {"alpha": {"order_management": {"buy_offset": 20_000}}}},
            "desks.alpha.order_management.buy_offset in bps is 20000; it must be 0 to 9999",
        ),
        (
            {
                "desks": {
                    "alpha": {
                        "order_management": {"strategy_overrides": {"s": {"sell_offset": 10_000}}}
                    }
                }
            },
            "order_management.strategy_overrides.s.sell_offset in bps is 10000",
        ),
        (
            {"desks": {"alpha": {"order_management": {"max_slippage_pct": 500}}}},
            "max_slippage_pct is 500; it must be at most 100",
        ),
        (
            {"desks": {"alpha": {"order_management": {"poll_interval_seconds": 0}}}},
            "poll_interval_seconds is 0; it must be 0.1 or more",
        ),
        (
            {"desks": {"alpha": {"alerts": {"cancel_rate_pct": 1_000}}}},
            "desks.alpha.alerts.cancel_rate_pct is 1000; it must be 1 to 100",
        ),
        (
            {"desks": {"alpha": {"limits": {"price_collar_pct": 101}}}},
            "desks.alpha.limits.price_collar_pct is 101; it must be 0 to 100",
        ),
        ({"desks": {"alpha": {"limits": {"margin_rate": 0}}}}, "margin_rate is 0, with which"),
        ({"desks": {1: {}}}, "desks has a key 1; it must be a text"),
        (
            {
                "instruments": {"DAX": {"currency": "EUR"}},
                "desks": {"alpha": {"symbols": ["DAX"]}},
            },
            "DAX settles in EUR, but the account in USD",
        ),
    ],
)
def test_what_does_not_hold_is_named_by_its_path(tables: Any, message: str) -> None:
    """The path, the value found, and what to write instead; nothing of the file is used."""
    with pytest.raises(ConfigError) as caught:
        parsed(**tables)

    assert message in str(caught.value)
    assert isinstance(caught.value, InputError)


SECRET: Final = "PK3XQ5ABCDEF12345678"
STRIPE: Final = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


@pytest.mark.parametrize(
    "tables",
    [
        {"accounts": {"m": {"credentials": {"api_key": SECRET}}}},
        {"accounts": {"m": {"credentials": {"api_key_env": SECRET}}}},
        {"accounts": {"m": {"credentials": {"api_key_env": "not a name"}}}},
        {"accounts": {"m": {"credentials": {"api_key_env": STRIPE}}}},
        {"accounts": {"m": {"credentials": {"api_key_file": STRIPE}}}},
        {"accounts": {"m": {"options": {"logins": [{"password": SECRET}]}}}},
        {"accounts": {"m": {"options": {"pwd": SECRET}}}},
        {"accounts": {"m": {"options": {"tokens": [SECRET]}}}},
        {"accounts": {"m": {"options": {"plain": STRIPE}}}},
        {"accounts": {"m": {"broker": STRIPE}}},
        {"accounts": {"m": {"currency": STRIPE}}},
        {"accounts": {STRIPE: {"modee": "paper"}}},
        {"accounts": {"m": {"mode": {"api_key": SECRET}}}},
        {"accounts": {"m": {"rate": {"requests_per_second": SECRET}}}},
        {"accounts": {"m": {"options": {"deep": {"api_secret": SECRET}}}}},
        {"accounts": {"m": {"mode": SECRET}}},
        {"journal": {"url": f"postgresql://me:{SECRET}@host/db"}},
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tables: Any) -> None:
    """Credentials are names; what looks like one itself is neither taken nor shown."""
    with pytest.raises(ConfigError) as caught:
        parsed(**tables, desks={"alpha": {"account": "m"} if "accounts" in tables else {}})

    assert SECRET not in str(caught.value)
    assert STRIPE not in str(caught.value)


def test_names_of_credentials_are_taken() -> None:
    """An environment variable by name, a file by path."""
    config = parsed(
        accounts={"m": {"credentials": {"api_key_env": "ALPACA_API_KEY", "x_file": "s/x"}}},
        desks={"alpha": {"account": "m"}},
    )

    assert config.account("m").credentials == {"api_key_env": "ALPACA_API_KEY", "x_file": "s/x"}


def test_toml_and_json_are_the_same(tmp_path: Path) -> None:
    """One schema: the same tables give the same configuration, numbers exact in both."""
    toml = written(
        tmp_path,
        "a.toml",
        "[desks.alpha.order_management]\nmax_slippage_pct = 0.1\nbuy_offset = '0.04'\n",
    )
    text = '{"desks": {"alpha": {"order_management": {"max_slippage_pct": 0.1, "buy_offset": '
    as_json = written(tmp_path, "a.json", text + '"0.04"}}}}')

    config = Config.load(toml)

    assert config == Config.load(as_json)
    assert config.digest == Config.load(as_json).digest
    assert config.digest != parsed().digest
    assert config.policies_of("alpha").pricing.offsets.max_slippage_pct == Decimal("0.1")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[desks", "it is no TOML: "),
        ("a.json", "{", "it is no JSON: "),
        ("a.json", '{"desks": {}, "desks": {}}', "key 'desks' stands there twice"),
        ("a.json", '{"desks": {"a": {"limits": {"capital": NaN}}}}', "NaN is no number"),
        ("a.json", "[]", "it holds no table"),
        ("a.toml", "\ufeff[desks.a]", "begins with a byte order mark; save it as UTF-8 without"),
        ("a.json", '{"desks":' + "[" * 100_000 + "]" * 100_000 + "}", "in each other too deep"),
        ("a.toml", "x = " + "[" * 100_000 + "]" * 100_000, "in each other too deep"),
        ("a.yaml", "", "a file of kind '.yaml' is not read; give a .toml or .json file"),
        ("a.toml", "[desks.a]\nacount = 'x'", "desks.a.acount is not known"),
        ("a.toml", "x = '" + "y" * 1_048_600 + "'", "more than 1048576 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    """The message begins with the file's path."""
    path = written(tmp_path, name, text)
    with pytest.raises(ConfigError, match="^" + re.escape(str(path))) as caught:
        Config.load(path)

    assert message in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    """A missing file, and one in another encoding."""
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"x = '\xe4'")
    with pytest.raises(ConfigError, match="no UTF-8 text at byte 5"):
        Config.load(tmp_path / "latin.toml")


def test_relative_paths_begin_at_the_file(tmp_path: Path) -> None:
    """A program started elsewhere uses the same journal, market, logs and secrets."""
    path = written(
        tmp_path,
        "a.toml",
        "[journal]\nurl = 'sqlite:///d.db'\n[logs]\nfolder = 'logs'\n[accounts.m]\n"
        "paper.market = 'm.csv'\ncredentials.k_file = 'k'\n[desks.a]\naccount = 'm'\n",
    )

    config = Config.load(path)
    account = config.account("m")

    assert config.journal.url == f"sqlite:///{tmp_path}/d.db"
    assert config.logs.folder == str(tmp_path / "logs")
    assert account.paper.market == str(tmp_path / "m.csv")
    assert account.credentials == {"k_file": str(tmp_path / "k")}


def test_strategies_have_their_own_offsets_and_the_desks_for_the_rest() -> None:
    """An override replaces what it names and nothing else (scenarios 37, 42)."""
    config = alpha(
        order_management={
            "sell_offset": "0.04",
            "offset_mode": "absolute",
            "strategy_overrides": {"momentum": {"sell_offset": "0.08"}},
        }
    )
    pricing = config.policies_of("alpha").pricing

    assert pricing.of("momentum") == Offsets(
        offset_mode="absolute", buy_offset=Decimal(15), sell_offset=Decimal("0.08")
    )
    assert pricing.of("other").sell_offset == Decimal("0.04")


def test_off_switches_a_limit_off() -> None:
    """What has a default can be without one."""
    limits = alpha(limits={"open_orders_max": "off", "price_collar_pct": "off"}).policies_of(
        "alpha"
    )

    assert (limits.limits.open_orders_max, limits.limits.price_collar_pct) == (None, None)


def test_a_time_of_zero_or_less_reaches_the_policy() -> None:
    """Stale orders are left alone where the file says 0 or less (scenario 15)."""
    config = alpha(execution={"cancel_after_seconds": -1, "post_only_ttl_seconds": 0})
    stale = config.policies_of("alpha").stale

    assert (stale.after_ms, stale.post_only_ms) == (-1_000, 0)


def test_a_configuration_made_in_code_passes_the_same_gate() -> None:
    """What no file could say is refused there too."""
    held = Config(desks={"alpha": DeskPart()})
    broken = Config(desks={"alpha": DeskPart(execution=ExecutionPart(max_retries=-1))})
    lost = Config(desks={"alpha": DeskPart(account="x")}, accounts={"y": AccountPart()})

    assert held.checked() == held
    with pytest.raises(ConfigError, match=r"desks\.alpha\.execution\.max_retries is -1"):
        broken.checked()
    with pytest.raises(ConfigError, match=r"there is no \[accounts.x\]"):
        lost.checked()


@pytest.mark.parametrize("data", [None, [1], 5, {"desks": None}, {"desks": {"a": None}}])
def test_what_is_no_table_is_refused(data: Any) -> None:
    """Whatever is given, the answer is a configuration or an error of it."""
    with pytest.raises(ConfigError, match="it must be a table"):
        Config.parse(data)


def test_what_is_no_path_is_refused() -> None:
    """A number is neither a path nor a configuration."""
    path: Any = 3
    with pytest.raises(ConfigError, match="a configuration is 3; give a path, or a Config"):
        Config.load(path)


def test_a_checked_configuration_has_the_types_of_its_keys() -> None:
    """Tables and numbers that stand in for parts and amounts become those."""
    desks: Any = {"alpha": {"limits": {"capital": 5}}, "beta": DeskPart(symbols=())}

    config = Config(desks=desks).checked()

    assert config.desks["alpha"] == DeskPart(limits=Limits(capital=Decimal(5)))
    assert isinstance(config.desks["alpha"].limits.capital, Decimal)


def test_desks_share_an_account_and_its_most_eager_poll() -> None:
    """Each desk knows its account; one of its own has the desk's name."""
    config = Config.parse(
        {
            "accounts": {"m": {}, "n": {"poll_interval_seconds": 7}},
            "desks": {
                "a": {"account": "m", "order_management": {"poll_interval_seconds": 30}},
                "b": {"account": "m", "order_management": {"poll_interval_seconds": 20}},
                "c": {"account": "n"},
                "d": {"mode": "dry_run"},
            },
            "instruments": {"TSLA": {}, "DAX": {"currency": "EUR"}},
        }
    )

    assert config.desks_of("m") == ("a", "b")
    assert (config.poll_interval_ms("m"), config.poll_interval_ms("n")) == (20_000, 7_000)
    assert (config.account_of("d"), config.account("d").mode) == ("d", "dry_run")
    assert [each.symbol for each in config.instruments_of("a")] == ["TSLA"]
    for wrong in (lambda: config.account("x"), lambda: config.desk("x")):
        with pytest.raises(ConfigError, match="there is no"):
            wrong()
