"""What an operator changes about the rules, and the matches that are expected. Pure: `tuning_file` reads it.

An attacker chooses the federated name, the user agent and often the address, and a federated session's own ARN
*is* that name. So a suppression stands on the ARN of an IAM principal; everything else only narrows it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Literal

import msgspec

from service.finding import Finding, Severity

DAY_SECONDS: Final = 86_400
ANY_RULE: Final = "*"

Stage = Literal["staged", "live"]

_NAMED_CHARACTERS: Final = 4  # of a principal's name, where the pattern leaves the account open
# Principals with nothing in common: a pattern that takes two of them takes everybody.
_STRANGERS: Final = (
    "arn:aws:iam::111111111111:user/alice",
    "arn:aws:iam::999999999999:user/division/team/Zed.2",
    "arn:aws-cn:iam::555555555555:user/builder",
    "arn:aws:iam::777777777777:role/service-role/Deploy",
    "arn:aws:iam::333333333333:root",
)


class RuleTuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule's table. A clause that is off is not asked; one that is staged pages nobody by itself."""

    enabled: bool = True
    severity: Severity | None = None
    stage: Stage | None = None  # None: as the rule says
    disabled_clauses: frozenset[str] = frozenset()
    staged_clauses: frozenset[str] = frozenset()
    duration_over_seconds: int | None = None  # of duration-over-24h
    include_assumed_roles: bool = False  # of console-exchange

    def chooses(self, option: str) -> bool:
        """Whether the operator set it to anything but its default."""
        chosen: bool = getattr(self, option) != getattr(_UNTUNED, option)
        return chosen

    def __post_init__(self) -> None:
        limit = self.duration_over_seconds
        if limit is not None and not 0 <= limit <= DAY_SECONDS:
            raise ValueError(
                f"duration_over_seconds is {limit}, has to be 0 to {DAY_SECONDS}: a higher limit would miss what "
                "the published rule finds; to give the clause up on purpose, disable it"
            )


class Suppression(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Expected matches. All that is given has to hold; `rules` may be `*`."""

    name: str
    rules: frozenset[str]
    principal_arn: str  # `*` and `?` as in IAM
    federated_user_name: str | None = None  # the same
    account_id: str | None = None
    networks: frozenset[str] = frozenset()
    vpc_endpoint_id: str | None = None
    owner: str
    reason: str
    expires: date  # the last day it holds, UTC
    allow_critical: bool = False

    def __post_init__(self) -> None:
        for field in ("name", "principal_arn", "owner", "reason"):
            if not getattr(self, field).strip():
                raise ValueError(f"{field} is empty")
        if not self.rules:
            raise ValueError('rules is empty: name the rules, or "*" for all')
        check_principal_arn(self.principal_arn)
        private = [network for network in self.networks if _network(network).is_private]
        if private and self.vpc_endpoint_id is None:
            raise ValueError(
                f"network {min(private)} is private, so it says something only together with vpc_endpoint_id"
            )

    def expired(self, today: date) -> bool:
        return today > self.expires

    def covers(self, finding: Finding, today: date, untuned: Severity | None = None) -> bool:
        """`untuned` is its severity by the table: lowering it for the pager's sake must not open the way here."""
        if self.expired(today) or not ({finding.rule_id, ANY_RULE} & self.rules):
            return False
        principal = iam_principal(finding)
        by_root = finding.root_caller or (principal or "").endswith(":root")
        if not self.allow_critical and (by_root or "critical" in (finding.severity, untuned)):
            return False
        if principal is None or not matches(self.principal_arn, principal):
            return False
        return (
            (self.federated_user_name is None or matches(self.federated_user_name, finding.federated_user_name))
            and self.account_id in (None, finding.account_id)
            and self.vpc_endpoint_id in (None, finding.vpc_endpoint_id)
            and (not self.networks or self._is_from_networks(finding))
        )

    def _is_from_networks(self, finding: Finding) -> bool:
        """Behind an endpoint an address is one of its VPC, which may be of any range: its owner chose it."""
        if finding.vpc_endpoint_id is not None and self.vpc_endpoint_id is None:
            return False
        return any(_contains(network, finding.source_ip) for network in self.networks)


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rules: Mapping[str, RuleTuning] = {}
    suppressions: Sequence[Suppression] = ()
    publish_suppressed: bool = False

    def of(self, rule_id: str) -> RuleTuning:
        return self.rules.get(rule_id, _UNTUNED)

    def expired(self, today: date) -> list[Suppression]:
        """Those that suppress nothing any more, in old events either."""
        return [suppression for suppression in self.suppressions if suppression.expired(today)]

    def suppression(self, finding: Finding, today: date, untuned: Severity | None = None) -> str | None:
        """The name of the first suppression that covers the finding."""
        return next((each.name for each in self.suppressions if each.covers(finding, today, untuned)), None)


_UNTUNED: Final = RuleTuning()
UNTUNED: Final = Tuning()


def check_principal_arn(glob: str) -> None:
    """Raises ValueError for a pattern that names nobody in particular, or somebody who chose the name."""
    if sum(matches(glob, stranger) for stranger in _STRANGERS) > 1:
        raise ValueError(f"principal_arn {glob!r} matches everybody: name the principal")
    parts = glob.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn" or parts[2] != "iam":
        raise ValueError(
            f"principal_arn {glob!r} is no ARN of IAM: a session's own ARN holds a name that its holder chose; "
            "name the user or the role behind it"
        )
    named = re.sub(r"[*?]", "", parts[5].partition("/")[2])
    if {"*", "?"} & set(parts[4]) and len(named) < _NAMED_CHARACTERS:
        raise ValueError(
            f"principal_arn {glob!r} fits too many, of any account: name the account or the principal"
        )


def iam_principal(finding: Finding) -> str | None:
    """The user or role behind the call; a session's own name is its holder's choice."""
    if finding.principal_type in ("FederatedUser", "AssumedRole"):
        return finding.session_issuer_arn
    return finding.principal_arn


def matches(glob: str, text: str | None) -> bool:
    """In linear time, whatever the pattern: `*` takes the first that fits."""
    return text is not None and fnmatchcase(text, glob.replace("[", "[[]"))


@lru_cache(maxsize=1_024)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)


def _contains(network: str, address: str | None) -> bool:
    """An address that is none (AWS writes host names, too) is in no network."""
    try:
        return address is not None and ip_address(address) in _network(network)
    except ValueError:
        return False
