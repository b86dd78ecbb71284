"""The login of Amazon MSK: tokens for librdkafka, signed with the AWS credentials that the process has.

Needs the extra `msk-iam`: import it only where it is used.
"""

import logging
import time
from typing import Final

import structlog
from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # type: ignore[import-untyped]  # it has no types

from service.errors import Refused
from service.escape import printable

_log: Final = structlog.get_logger("msk_iam")

RETRY_SECONDS: Final = 10.0
Token = tuple[str, float]  # and when it expires, in seconds since 1970


class Tokens:
    """librdkafka's `oauth_cb`: called when a client starts and then when 80 % of a token's life are over.

    May be called from any thread. Never raises, since librdkafka's client does not survive that: where AWS gives
    no credentials any more, the last token serves until the brokers refuse it.
    """

    def __init__(self, region: str) -> None:
        """Raises Refused where the process has no AWS credentials."""
        for name in ("botocore", "urllib3"):
            logging.getLogger(name).setLevel(logging.WARNING)  # what they tell when debugging holds session tokens
        self._region = region
        try:
            self._last = self._new()
        except Exception as problem:  # botocore raises what it will
            raise Refused(_no_token(problem)) from problem

    def __call__(self, _config: object = None) -> Token:
        try:
            self._last = self._new()
        except Exception as problem:  # noqa: BLE001  the same
            _log.warning("no new login for Amazon MSK, trying again", problem=_no_token(problem))
            token, expires_at = self._last
            return token, max(expires_at, time.time() + RETRY_SECONDS)
        return self._last

    def _new(self) -> Token:
        token, expires_at_ms = MSKAuthTokenProvider.generate_auth_token(self._region)
        return token, expires_at_ms / 1000


def _no_token(problem: Exception) -> str:
    # Without credentials the signer trips over their absence.
    why = "none were found" if isinstance(problem, AttributeError) else f"{type(problem).__name__}: {problem}"
    return f"AWS_MSK_IAM needs AWS credentials: {printable(why)}"
