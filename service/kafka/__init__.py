"""confluent-kafka at the edges: the only folder that knows the client, save for the registry's and a few commands.

source      a member of a consumer group that knows where it stands
positions   where a member begins on partitions without a position
statistics  what the client tells of lag, membership and the way to the brokers
sink        a Sink for each delivery mode
clients     configuration, and the first questions to the brokers
errors      what errors mean: which of them no waiting changes
preflight   what `run` needs of the brokers, asked for in ways that change nothing
msk_iam     the login of Amazon MSK, an extra
"""
