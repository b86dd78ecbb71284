"""Queries that show what a session and its caller did, ready to run where CloudTrail is kept.

An attacker chooses names, so a value stands in a query as a literal of its language or the query is left out:
a search that is wrong is worse than none. Knows the three languages and no rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from service.event import Event
from service.finding import Pivot
from service.redaction import REDACTED
from service.timestamps import rfc3339

_Field = Literal["access_key_id", "arn"]

# A session lives 36 hours at most: whatever it did lies within that of any one of its events.
REACH: Final = timedelta(hours=36)
_FIRST_YEAR: Final = 2006  # AWS is no older, and Splunk would read a negative time as a relative one
_LAST_YEAR: Final = 9998
_MAX_VALUE: Final = 1_024


@dataclass(frozen=True, slots=True)
class _Window:
    """In both ways that the languages write times: RFC 3339, and seconds since 1970."""

    start: str | None
    end: str | None
    start_seconds: int
    end_seconds: int


def pivots(event: Event) -> list[Pivot]:
    """None at all without a time: a search without bounds reads everything there is."""
    window = _window(event.time)
    if window is None:
        return []
    sought: dict[tuple[_Field, str | None], None] = {
        ("access_key_id", event.issued_access_key_id): None,
        ("arn", event.federated_user_arn): None,
        ("access_key_id", event.text("userIdentity", "accessKeyId")): None,
    }
    queries = [
        (system, write(field, value, window))
        for field, value in sought
        if value and _expressible(value)
        for system, write in _SYSTEMS.items()
    ]
    return [Pivot(system, query) for system, query in queries if query]


def _window(moment: datetime | None) -> _Window | None:
    if moment is None or not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    whole = moment.replace(microsecond=0)
    seconds, reach = int(whole.timestamp()), int(REACH.total_seconds())
    return _Window(rfc3339(whole - REACH), rfc3339(whole + REACH), seconds - reach, seconds + reach)


def _expressible(value: str) -> bool:
    """Control characters, bidi marks and lone surrogates have no place in a query that a person may paste; a
    value that was cut or redacted would find nothing.
    """
    return value.isprintable() and len(value) <= _MAX_VALUE and REDACTED not in value


def _athena(field: _Field, value: str, window: _Window) -> str:
    """Athena's SQL on the table of AWS's guide; a quote within a literal is doubled, nothing else is special.

    https://docs.aws.amazon.com/athena/latest/ug/create-cloudtrail-table.html
    https://trino.io/docs/current/language/types.html#varchar
    """
    column = "useridentity.accesskeyid" if field == "access_key_id" else "useridentity.arn"
    literal = "'" + value.replace("'", "''") + "'"
    return (
        "SELECT eventtime, eventsource, eventname, "  # noqa: S608  the literal alone holds event text
        "awsregion, sourceipaddress, useragent, errorcode, eventid "
        f"FROM cloudtrail_logs WHERE {column} = {literal} "
        f"AND eventtime BETWEEN '{window.start}' AND '{window.end}' ORDER BY eventtime"
    )


def _esql(field: _Field, value: str, window: _Window) -> str:
    """ES|QL on the fields of Elastic's integration; in a literal, quote and backslash take a backslash.

    https://www.elastic.co/docs/reference/query-languages/esql/esql-syntax#esql-string-literals
    https://www.elastic.co/docs/reference/integrations/aws/cloudtrail
    """
    column = f"aws.cloudtrail.user_identity.{field}"
    return (
        f'FROM logs-aws.cloudtrail-* | WHERE {column} == "{_backslashed(value)}" '
        f'AND @timestamp >= "{window.start}" AND @timestamp <= "{window.end}" '
        "| SORT @timestamp | KEEP @timestamp, event.provider, event.action, event.outcome, source.address, "
        "user_agent.original, event.id | LIMIT 10000"
    )


def _spl(field: _Field, value: str, window: _Window) -> str | None:
    """SPL on the fields of the Splunk Add-on for AWS, compared by `where`: to `search`, an asterisk is a wildcard
    and no backslash takes that away. A key is also a search term, which the index answers at once.

    Backquotes and dollars are macros and tokens to Splunk, which replaces them before it reads quotes.

    https://help.splunk.com/splunk-enterprise/search/search-manual/9.4/search-primer/backslashes
    https://help.splunk.com/splunk-enterprise/spl-search-reference/9.2/search-commands/where
    """
    if "`" in value or "$" in value:
        return None
    column = "userIdentity.accessKeyId" if field == "access_key_id" else "userIdentity.arn"
    term = f' "{value}"' if value.isascii() and value.isalnum() else ""
    return (
        "search index=* sourcetype=aws:cloudtrail "
        f"earliest={window.start_seconds} latest={window.end_seconds}{term} "
        f"| where '{column}'=\"{_backslashed(value)}\" | sort 0 _time "
        "| table _time eventSource eventName awsRegion sourceIPAddress userAgent errorCode eventID"
    )


def _backslashed(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


_SYSTEMS: Final[dict[str, Callable[[_Field, str, _Window], str | None]]] = {
    "athena": _athena,
    "esql": _esql,
    "spl": _spl,
}
