"""Tokentrail: CloudTrail events on Kafka in, findings about federation tokens out.

In the order that data takes:

cli/          the commands
settings      environment, file, flags -> one frozen object (settings_sources, settings_values)
app           settings -> parts -> a running service; signals and exit codes
pipeline      poll, take in, publish, commit: owns the guarantee; batch: what is read together
intake        messages -> counts, findings, dead letters; screen: messages that need no reading
kafka         where messages come from; kafka_sink where outputs go; kafka_clients, kafka_errors below both
avro          Avro -> CloudTrail records: avro_schema, avro_plan, avro_skip, avro_read, avro_container; registry
envelopes     bytes -> CloudTrail records: parts, glance, mending, inflate
from_ecs, from_ocsf   shippers' documents -> CloudTrail records: dotted, parameters, java_map
event         a record with typed accessors, secrets removed
policy        how much power an IAM policy asks for
rules/        one rule, one file; what to do about a match
tuning        what an operator changes about the rules, and the matches that are expected (tuning_file reads it)
context       what an operator knows of accounts and principals (context_file reads it)
detect        event -> verdicts -> findings
canary        which findings are of our own synthetic attack
finding       what comes out, its ids and schemas; ocsf_finding, avro_findings: its other forms
dead_letter   what could not be read -> a dead letter
metrics, probes, log   what is seen from outside; accounts: which fell silent; escape: text fit to be shown
watchdog      ends a process that hangs, and only then
scan, compare, report   the same over files; what a change of tuning would do; a page to read (follow_ups)
files, bulk   where scan's bytes come from; ordinary records told by the page
feed          files into a topic, in any shape: wrap, to_ecs, to_ocsf, to_avro, reshape
tail, redrive, check, demo   findings as they come; dead letters again; a pre-flight; for show
"""
