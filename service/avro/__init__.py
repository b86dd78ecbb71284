"""Avro -> CloudTrail records, and findings -> Avro.

messages    the wire formats, and what is done about schemas that cannot be had
registry    the schema registry, asked sparingly
schema      a schema parsed, bounded, its fields under CloudTrail's names
plan        a schema -> how its messages are taken apart: skip first, read what a rule watches
skip        where a value ends, found without making it
read        bytes -> a value, written for data that may be hostile
container   object container files, for `scan` and `feed`
findings    the other way: a finding under a schema that the registry holds
"""
