{{/* A name holds 63 characters; room is kept for the endings "-test" and "-canary". */}}
{{- define "tokentrail.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) }}
{{- .Values.fullnameOverride | default $name | trunc 56 | trimSuffix "-" }}
{{- end }}

{{- define "tokentrail.instanceLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of the pods that read the topic; a test's pod is not among them. Never changes: a Deployment's selector cannot. */}}
{{- define "tokentrail.selectorLabels" -}}
{{ include "tokentrail.instanceLabels" . }}
app.kubernetes.io/component: detector
{{- end }}

{{- define "tokentrail.metadata" -}}
name: {{ include "tokentrail.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "tokentrail.labels" . | nindent 2 }}
{{- end }}

{{- define "tokentrail.labels" -}}
{{ include "tokentrail.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "tokentrail.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "tokentrail.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* The program's own defaults, for objects that have to name them. A test compares. */}}
{{- define "tokentrail.group" -}}{{ .Values.kafka.groupId | default "tokentrail" }}{{- end }}
{{- define "tokentrail.topic" -}}{{ .Values.topics.events | default "cloudtrail.events" }}{{- end }}

{{/* Ports of the brokers, as a JSON list. */}}
{{- define "tokentrail.brokerPorts" -}}
{{- $ports := list }}
{{- range splitList "," .Values.kafka.bootstrapServers }}
{{- $ports = append $ports (regexFind "[0-9]+$" . | int) }}
{{- end }}
{{- range .Values.networkPolicy.brokerPorts }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}
