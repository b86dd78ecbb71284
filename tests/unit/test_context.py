"""What an operator's context adds to findings, and what is wrong with a file of it."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service import context_file, tuning_file
from service.context import NO_CONTEXT, Account, Broker, Context
from service.detect import Detector
from service.errors import SettingsError
from service.finding import Finding
from service.rules import RULES
from service.tuning import UNTUNED
from tests.broker import ROOT
from tests.unit.strategies import console_exchange, issuance

ALICE = "arn:aws:iam::111122223333:user/alice"
CONTEXT = Context(
    accounts={"111122223333": Account(alias="prod", owner="payments"), "444455556666": Account(alias="test")},
    brokers=[
        Broker(name="portal", principal_arn="arn:aws:iam::111122223333:user/portal-*", owner="data"),
        Broker(name="alice's scripts", principal_arn=ALICE, owner="alice"),
        Broker(name="second", principal_arn="arn:aws:iam::111122223333:user/ali*", owner="alice"),
    ],
)


def found(record: dict[str, Any]) -> Finding:
    return Detector(RULES).detect_record(record).findings[0]


def added(finding: Finding, context: Context = CONTEXT) -> tuple[str | None, str | None, str | None]:
    known = context.of(finding)
    return known.account_alias, known.account_owner, known.known_broker


# --- what it adds ----------------------------------------------------------------------------------------------


def test_a_finding_is_told_its_account_and_the_first_broker_that_fits() -> None:
    assert added(found(issuance())) == ("prod", "payments", "alice's scripts")


def test_what_nobody_told_is_null() -> None:
    """An account that is not in the file, one without an owner, a principal that is no broker's, no account."""
    bob = {**issuance()["userIdentity"], "arn": "arn:aws:iam::111122223333:user/bob"}
    assert added(found(issuance(recipientAccountId="444455556666"))) == ("test", None, "alice's scripts")
    assert added(found(issuance(recipientAccountId="777788889999"))) == (None, None, "alice's scripts")
    assert added(found(issuance(userIdentity=bob))) == ("prod", "payments", None)
    bare = {"eventSource": "sts.amazonaws.com", "eventName": "GetFederationToken"}
    assert added(found(bare)) == (None, None, None)


def test_a_federated_session_belongs_to_its_issuers_broker() -> None:
    """Its own ARN is a name that its holder chose."""
    assert added(found(console_exchange()))[2] == "alice's scripts"
    stranger = console_exchange()
    stranger["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"] = "arn:aws:iam::111122223333:user/eve"
    stranger["userIdentity"]["arn"] = ALICE
    assert added(found(stranger))[2] is None


def test_nothing_else_of_a_finding_changes() -> None:
    finding = found(issuance())
    known = CONTEXT.of(finding)
    nulls = {"account_alias": None, "account_owner": None, "known_broker": None}
    assert msgspec.structs.replace(known, **nulls) == finding
    assert NO_CONTEXT.of(finding) == finding


# --- the file --------------------------------------------------------------------------------------------------

GOOD = """\
[accounts."111122223333"]
alias = "prod"
owner = "payments"

[[brokers]]
name = "portal"
principal_arn = "arn:aws:iam::*:user/portal-*"
owner = "data"

[[brokers]]
name = "vault"
principal_arn = "arn:aws:iam::111122223333:role/vault"
owner = "platform"
"""


def read(tmp_path: Path, text: str) -> Context:
    file = tmp_path / "context.toml"
    file.write_text(text, encoding="utf-8")
    return context_file.read(file)


def test_a_good_file(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD) == Context(
        accounts={"111122223333": Account(alias="prod", owner="payments")},
        brokers=(
            Broker(name="portal", principal_arn="arn:aws:iam::*:user/portal-*", owner="data"),
            Broker(name="vault", principal_arn="arn:aws:iam::111122223333:role/vault", owner="platform"),
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"111122223333"', '"1111"', 1, "12 digits"),
        ("alias", "alais", 2, "unknown field `alais`"),
        ('"prod"', '""', 2, "length >= 1"),
        ('"payments"', '"' + "x" * 201 + '"', 3, "length <= 200"),
        ('"payments"', "7", 3, "Expected `str"),
        ("user/portal-*", "*", 7, "matches everybody"),
        ("arn:aws:iam::*:user/portal-*", "arn:aws:sts::111122223333:federated-user/x", 7, "no ARN of IAM"),
        ('owner = "platform"', "", 10, "missing required field `owner`"),
        ('principal_arn = "arn:aws:iam::111122223333:role', 'principal = "arn:aws:iam::111122223333:role', 12,
         "unknown field `principal`"),
        ('[[brokers]]\nname = "vault"', '[broker]\nname = "vault"', 10, "unknown key"),
        ("[accounts.", "[[accounts.", 1, "line 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, GOOD.replace(old, new, 1))
    (problem,) = raised.value.problems
    assert words in problem
    assert f"context.toml:{line}: " in problem or f"line {line}" in problem


@pytest.mark.parametrize("text", ["accounts = 3", "brokers = {}", "accounts = []", 'brokers = "x"'])
def test_a_key_of_another_kind_is_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"context.toml:1: \w+: has to be"):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"context: .*none.toml: no such file"):
        context_file.read(tmp_path / "none.toml")


# --- the examples ----------------------------------------------------------------------------------------------


def test_the_shipped_examples_change_nothing() -> None:
    """`run` reads config/tuning.toml where it is present, as it is in a checkout."""
    assert context_file.read(ROOT / "config" / "context.toml") == NO_CONTEXT
    tuning = tuning_file.read(ROOT / "config" / "tuning.toml")
    assert (tuning.rules, tuple(tuning.suppressions), tuning.publish_suppressed) == (
        UNTUNED.rules,
        tuple(UNTUNED.suppressions),
        UNTUNED.publish_suppressed,
    )


def uncommented(tmp_path: Path, name: str) -> Path:
    file = tmp_path / name
    text = (ROOT / "config" / name).read_text(encoding="utf-8")
    file.write_text(re.sub(r"^#(?=[\w\[])", "", text, flags=re.MULTILINE), encoding="utf-8")
    return file


def test_every_line_of_the_examples_can_be_set(tmp_path: Path) -> None:
    """And between them they show every field there is."""
    context = context_file.read(uncommented(tmp_path, "context.toml"))
    assert [*context.accounts.values(), *context.brokers] != []
    tuning = tuning_file.read(uncommented(tmp_path, "tuning.toml"))
    text = (ROOT / "config" / "tuning.toml").read_text(encoding="utf-8")
    (suppression,) = tuning.suppressions
    for kind in (type(suppression), type(next(iter(tuning.rules.values())))):
        for field in msgspec.structs.fields(kind):
            assert f"\n#{field.name} = " in text, field.name
