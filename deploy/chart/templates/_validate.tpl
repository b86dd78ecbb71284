{{/* What a JSON schema cannot say in a clear line. Prints nothing. */}}
{{- define "tokentrail.validate" -}}
{{- with .Values.kafka }}
{{- $login := has .saslMechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512") }}
{{- if and .saslMechanism (not (hasPrefix "sasl_" (.securityProtocol | default ""))) }}
{{- fail (printf "kafka.saslMechanism: %s needs kafka.securityProtocol sasl_ssl or sasl_plaintext" .saslMechanism) }}
{{- end }}
{{- if and $login (not .credentials.secret) }}
{{- fail (printf "kafka.credentials.secret: %s needs the name of a Secret with the login" .saslMechanism) }}
{{- end }}
{{- if eq (.saslMechanism | default "") "AWS_MSK_IAM" }}
{{- if ne .securityProtocol "sasl_ssl" }}
{{- fail "kafka.securityProtocol: AWS_MSK_IAM needs sasl_ssl" }}
{{- end }}
{{- if not .mskIamRegion }}
{{- fail "kafka.mskIamRegion: AWS_MSK_IAM needs the cluster's region" }}
{{- end }}
{{- end }}
{{- end }}
{{- range $client, $tls := dict "kafka" .Values.kafka.tls "registry" .Values.registry.tls }}
{{- if and $tls.ca.secret $tls.ca.configMap }}
{{- fail (printf "%s.tls.ca: a secret or a configMap, not both" $client) }}
{{- end }}
{{- end }}
{{- range fromJsonArray (include "tokentrail.brokerPorts" .) }}
{{- if or (lt (int .) 1) (gt (int .) 65535) }}
{{- fail (printf "kafka.bootstrapServers: %v is no port" .) }}
{{- end }}
{{- end }}
{{- $refused := .Files.Lines "files/refused-properties.txt" }}
{{- range $table := list "properties" "consumerProperties" "producerProperties" }}
{{- range $name, $_ := index $.Values.kafka $table }}
{{- if has $name $refused }}
{{- fail (printf "kafka.%s: %s is the program's own, or has a value of its own in this chart" $table $name) }}
{{- end }}
{{- if regexMatch "password|secret|\\.pem$" $name }}
{{- fail (printf "kafka.%s: %s is a secret; see \"Other secrets\" in the chart's README" $table $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $findings := .Values.topics.findings | default "cloudtrail.findings" }}
{{- $deadLetters := .Values.topics.deadLetters | default "cloudtrail.dead-letters" }}
{{- $topics := compact (list (include "tokentrail.topic" .) $findings $deadLetters .Values.topics.staged) }}
{{- if ne (len (uniq $topics)) (len $topics) }}
{{- fail "topics: events, findings, deadLetters and staged must be different topics" }}
{{- end }}
{{- if and .Values.canary.enabled (not .Values.canary.secret) }}
{{- fail "canary.secret: canary.enabled needs the name of a Secret with the key" }}
{{- end }}
{{- with .Values.keda }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail "keda.minReplicas: more than keda.maxReplicas" }}
{{- end }}
{{- if and .enabled (has $.Values.kafka.saslMechanism (list "OAUTHBEARER" "GSSAPI")) }}
{{- fail (printf "keda.enabled: this chart cannot log KEDA in by %s; make a ScaledObject of your own" $.Values.kafka.saslMechanism) }}
{{- end }}
{{- end }}
{{- end }}
