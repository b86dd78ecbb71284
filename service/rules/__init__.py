"""The rules. One is added by one file here and one line below."""

from typing import Final

from service.rules import federation_token_issued, federation_token_suspicious, signin_token_federated
from service.rules.rule import Rule

RULES: Final[tuple[Rule, ...]] = (
    federation_token_issued.RULE,
    federation_token_suspicious.RULE,
    signin_token_federated.RULE,
)
