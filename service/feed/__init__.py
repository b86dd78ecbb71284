"""CloudTrail files -> messages on a topic, for backfills, tests and demos: the inverse of `service.envelopes`.

send        messages -> a topic, each with its acknowledgement
messages    records of files, as they stand or wrapped anew, at a pace
wrap        every shape that events arrive in
to_ecs, to_ocsf, to_avro   the documents of shippers
reshape     fields moved to dotted places, for the first two
"""
