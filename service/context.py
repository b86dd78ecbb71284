"""What a company knows about its accounts and identity brokers, added to findings. Pure: `context_file` reads it.

It tells a responder more and never decides anything: a stolen key of a known broker looks just like the broker.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec

from service.finding import Finding
from service.tuning import check_principal_arn, iam_principal, matches

_ACCOUNT_ID: Final = re.compile(r"\d{12}", re.ASCII)

# Absent is null in a finding, never an empty text; and a finding has to fit a message.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    alias: Text | None = None
    owner: Text | None = None


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A principal known to mint sessions. `principal_arn` is a pattern as a suppression's; the owner is for people
    who read the file.
    """

    name: Text
    principal_arn: Text
    owner: Text

    def __post_init__(self) -> None:
        check_principal_arn(self.principal_arn)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """`accounts` is by account id."""

    accounts: Mapping[str, Account] = {}
    brokers: Sequence[Broker] = ()

    def of(self, finding: Finding) -> Finding:
        """The finding with what is known of its account and of the principal behind the call; the first broker
        that fits gives its name.
        """
        if not self.accounts and not self.brokers:
            return finding
        account = self.accounts.get(finding.account_id or "", _NOTHING)
        principal = iam_principal(finding)
        names = (broker.name for broker in self.brokers if matches(broker.principal_arn, principal))
        return msgspec.structs.replace(
            finding, account_alias=account.alias, account_owner=account.owner, known_broker=next(names, None)
        )


def is_account_id(text: str) -> bool:
    return _ACCOUNT_ID.fullmatch(text) is not None


_NOTHING: Final = Account()
NO_CONTEXT: Final = Context()
