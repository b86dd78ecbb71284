"""The rules. One is added by one file here, and by its name in the two lists below.

rule          what a rule is, and how it is asked
tuned         the rules as an operator wants them
response      runbook steps, in words
containment   what ends a session's power, as data
pivots        queries that show what a session did
all others    a rule each
"""

from typing import Final

from service.rules import (
    console_login_federated,
    federated_user_changes_iam,
    federation_token_issued,
    federation_token_suspicious,
    signin_token_federated,
)
from service.rules.rule import Rule

RULES: Final[tuple[Rule, ...]] = (
    federation_token_issued.RULE,
    federation_token_suspicious.RULE,
    signin_token_federated.RULE,
)

# On trial: applied by `run` and by `scan --staged`; findings carry the stage, and go to `topics.staged`.
STAGED: Final[tuple[Rule, ...]] = (
    console_login_federated.RULE,
    federated_user_changes_iam.RULE,
)

EVERY_RULE: Final = (*RULES, *STAGED)
