"""Tokentrail: CloudTrail events on Kafka in, findings about federation tokens out.

In the order that data takes:

cli/          the commands
settings      environment, file, flags -> one frozen object (settings_sources, settings_values)
app           settings -> parts -> a running service; signals and exit codes
pipeline      poll, decode, detect, publish, commit: owns the guarantee
kafka         where messages come from; kafka_sink where outputs go; kafka_clients, kafka_errors below both
envelopes     bytes -> CloudTrail records
event         a record with typed accessors, secrets removed
policy        how much power an IAM policy asks for
rules/        one rule, one file
detect        event -> verdicts -> findings
finding       what comes out, its ids and schemas
dead_letter   what could not be read -> a dead letter
metrics, probes, log   what is seen from outside
watchdog      ends a process that hangs, and only then
scan, feed, redrive, check, demo   the same over files; into a topic; dead letters again; a pre-flight; for show
"""
