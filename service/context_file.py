"""config/context.toml -> Context, with the file and the line of whatever is wrong in it."""

from collections.abc import Iterator
from pathlib import Path

from service.context import Account, Broker, Context, is_account_id
from service.toml_tables import Tables


def read(path: Path) -> Context:
    """Raises SettingsError with a line for each thing that is wrong."""
    tables = Tables(path, "context")
    context = Context(accounts=dict(_accounts(tables)), brokers=tuple(_brokers(tables)))
    tables.finish()
    return context


def _accounts(tables: Tables) -> Iterator[tuple[str, Account]]:
    for account_id, table in tables.named("accounts").items():
        place = ("accounts", account_id)
        if not is_account_id(account_id):
            tables.problem(place, "no account id: 12 digits, in quotes")
        elif account := tables.struct(place, table, Account):
            yield account_id, account


def _brokers(tables: Tables) -> Iterator[Broker]:
    for number, table in enumerate(tables.array("brokers")):
        if broker := tables.struct(("brokers", number), table, Broker):
            yield broker
