"""`tokentrail schema`: what a finding looks like, for registries and SOARs."""

import json

import click

from service.finding import avro_schema, json_schema
from service.ocsf_finding import ocsf_schema

_SCHEMAS = {"json": json_schema, "avro": avro_schema, "ocsf": ocsf_schema}


@click.command("schema")
@click.argument("name", type=click.Choice(list(_SCHEMAS)), default="json", metavar="[json|avro|ocsf]")
@click.option(
    "--format",
    "name_given",
    type=click.Choice(list(_SCHEMAS)),
    help="The same as the argument.",
)
def command(name: str, name_given: str | None) -> None:
    """Print the schema of a finding.

    json: JSON Schema. avro: as in config/schemas/finding.avsc. ocsf: JSON Schema of the part of OCSF's Detection
    Finding that is written.
    """
    click.echo(json.dumps(_SCHEMAS[name_given or name](), indent=2))
