"""Tokentrail: CloudTrail events on Kafka in, findings about federation tokens out.

The folder as data takes it; each folder's own docstring has its files.

the service
    cli/          the commands: one file each
    settings      environment, file, flags -> one frozen object
    settings_sources   where settings come from
    settings_values    what a setting's value may be
    settings_table     what the documentation says of each
    app           settings -> parts -> a running service; signals and exit codes
    pipeline      poll, take in, publish, commit: owns the guarantee; declares the Source and Sink it needs
    batch         what is read together, and all that it gave
    intake        messages -> counts, findings, dead letters
    screen        messages that need no reading, told by a search for bytes
    kafka/        the Source and the Sinks, by confluent-kafka
    avro/         Avro -> CloudTrail records, findings -> Avro, the schema registry
    dead_letter   what could not be read -> a dead letter; when a partition holds too much of it
    cloudevent    a finding -> a Kafka message
    metrics       every metric
    probes        /livez, /readyz, /metrics
    log           how a log line looks
    watchdog      ends a process that hangs, and only then
the core: no I/O, no clock
    envelopes/    bytes -> CloudTrail records, whatever they were wrapped in
    event         a record with typed accessors
    redaction     a record without its secrets
    timestamps    times as they are written -> UTC, and RFC 3339
    policy/       how much power an IAM policy asks for
    rules/        one rule, one file; what to do about a match
    tuning        what an operator changes about the rules, and the matches that are expected
    detect        event -> verdicts -> findings
    finding       what comes out, its ids and schemas
    ocsf_finding  the same as an OCSF Detection Finding
    ocsf          the part of OCSF that is written
    context       what an operator knows of accounts and principals
    canary        which findings are of our own synthetic attack
    accounts      which of the expected accounts fell silent
    escape        text fit to be shown
    errors        every exception
what else people run
    scan          files -> the same detector
    files         which files there are, their content, the processes that read many
    bulk          many ordinary records told at once
    event_times   when records happened, told from their bytes
    shortlist     the foremost of many, in bounded memory
    backtest/     what a change of tuning would do; the published rules beside ours
    report/       a scan's findings as a page
    check         a pre-flight
    feed/         files into a topic, in every shape that events arrive in
    redrive       dead letters into the events topic again
    tail          findings as they come
    demo          the whole pipeline on the built-in cluster
    sample_day    what the demo feeds
    sample_day_data    who works at the company of that day
what operators write
    toml_tables   tables of a TOML file -> structs, with file and line of what is wrong
    tuning_file   config/tuning.toml -> Tuning
    context_file  config/context.toml -> Context
"""
