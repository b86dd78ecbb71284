"""`tokentrail schema`: what a finding looks like, for registries and SOARs."""

import json

import click

from service.finding import avro_schema, json_schema


@click.command("schema")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["json", "avro"]),
    default="json",
    show_default=True,
    help="json: JSON Schema. avro: as in config/schemas/finding.avsc.",
)
def command(kind: str) -> None:
    """Print the schema of a finding."""
    schema = avro_schema() if kind == "avro" else json_schema()
    click.echo(json.dumps(schema, indent=2))
