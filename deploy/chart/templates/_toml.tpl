{{/* values -> tokentrail.toml. JSON's strings, numbers, booleans and lists of them are TOML too. */}}
{{- define "tokentrail.toml" -}}
{{- $v := .Values }}
{{- $kafka := omit $v.kafka "credentials" "tls" "properties" "consumerProperties" "producerProperties" }}
{{- $registry := omit $v.registry "credentials" "tls" }}
{{- $properties := deepCopy $v.kafka.properties }}
{{- if $v.kafka.credentials.secret }}
{{- if not $v.kafka.saslUsername }}{{ $_ := set $kafka "saslUsernameFile" "/run/secrets/tokentrail/kafka/username" }}{{ end }}
{{- $_ := set $kafka "saslPasswordFile" "/run/secrets/tokentrail/kafka/password" }}
{{- end }}
{{- if $v.registry.credentials.secret }}
{{- $_ := set $registry "usernameFile" "/run/secrets/tokentrail/registry/username" }}
{{- $_ := set $registry "passwordFile" "/run/secrets/tokentrail/registry/password" }}
{{- end }}
{{- range $name, $path := include "tokentrail.tlsFiles" (list "kafka" $v.kafka.tls) | fromJson }}
{{- $_ := set $properties (printf "ssl.%s.location" $name) $path }}
{{- end }}
{{- range $name, $path := include "tokentrail.tlsFiles" (list "registry" $v.registry.tls) | fromJson }}
{{- $_ := set $registry (printf "%sLocation" $name) $path }}
{{- end }}
{{- include "tokentrail.settings" (list "kafka" $kafka) }}
{{- include "tokentrail.properties" (list "properties" $properties) }}
{{- include "tokentrail.properties" (list "consumer_properties" $v.kafka.consumerProperties) }}
{{- include "tokentrail.properties" (list "producer_properties" $v.kafka.producerProperties) }}
{{- range list "topics" "delivery" "detect" "findings" "http" "log" "limits" }}
{{- include "tokentrail.settings" (list . (index $v .)) }}
{{- end }}
{{- include "tokentrail.settings" (list "registry" $registry) }}
{{- if $v.canary.secret }}
{{- include "tokentrail.settings" (list "canary" (dict "keyFile" "/run/secrets/tokentrail/canary/key")) }}
{{- end }}
{{- with $v.expectedAccounts }}
{{- include "tokentrail.settings" (list "accounts" (dict "expected" .)) }}
{{- end }}
{{- end }}

{{/* (section, its values): camelCase becomes snake_case; null is left out, for the program's own default. */}}
{{- define "tokentrail.settings" -}}
{{- $lines := list }}
{{- range $key, $value := last . }}
{{- if not (kindIs "invalid" $value) }}
{{- $lines = append $lines (printf "%s = %s" (snakecase $key) (toRawJson $value)) }}
{{- end }}
{{- end }}
{{- if $lines }}
{{- printf "[%s]\n%s\n\n" (first .) (join "\n" $lines) }}
{{- end }}
{{- end }}

{{- define "tokentrail.properties" -}}
{{- $lines := list }}
{{- range $name, $value := last . }}
{{- $lines = append $lines (printf "%s = %s" (toRawJson $name) (toRawJson $value)) }}
{{- end }}
{{- if $lines }}
{{- printf "[kafka.%s]\n%s\n\n" (first .) (join "\n" $lines) }}
{{- end }}
{{- end }}

{{/* (folder, tls) -> {"ca": path, "certificate": path, "key": path}, each where it is given. */}}
{{- define "tokentrail.tlsFiles" -}}
{{- $folder := printf "/run/secrets/tokentrail/%s" (first .) }}
{{- $files := dict }}
{{- with last . }}
{{- if or .ca.secret .ca.configMap }}{{ $_ := set $files "ca" (printf "%s/ca.crt" $folder) }}{{ end }}
{{- if .client.secret }}
{{- $_ := set $files "certificate" (printf "%s/tls.crt" $folder) }}
{{- $_ := set $files "key" (printf "%s/tls.key" $folder) }}
{{- end }}
{{- end }}
{{- toJson $files }}
{{- end }}
