{{/* What the pods of the Deployment, of the test and of the canary share. The arguments and probes of a container come from its user. */}}
{{- define "tokentrail.pod" -}}
serviceAccountName: {{ include "tokentrail.serviceAccount" . }}
automountServiceAccountToken: false
# A Service named tokentrail would put variables with the program's prefix into the environment.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
volumes:
  - name: config
    configMap:
      name: {{ include "tokentrail.name" . }}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- with include "tokentrail.secretFiles" . | trim }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- . | nindent 8 }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tokentrail.container" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- with .Values.image -}}
image: {{ ternary (printf "%s@%s" .repository (.digest | default "")) (printf "%s:%s" .repository $tag) (not (empty .digest)) | quote }}
imagePullPolicy: {{ .pullPolicy }}
{{- end }}
env:
  - name: TOKENTRAIL_CONFIG
    value: /etc/tokentrail/tokentrail.toml
  {{- if .Values.tuning }}
  - name: TOKENTRAIL_TUNING
    value: /etc/tokentrail/tuning.toml
  {{- end }}
  {{- if .Values.context }}
  - name: TOKENTRAIL_CONTEXT
    value: /etc/tokentrail/context.toml
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/tokentrail
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- if include "tokentrail.secretFiles" . }}
  - name: secrets
    mountPath: /run/secrets/tokentrail
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Sources of the projected volume; the file names are those that tokentrail.toml gives. */}}
{{- define "tokentrail.secretFiles" -}}
{{- with .Values.canary }}
{{- if .secret }}
- secret:
    name: {{ .secret }}
    items:
      - {key: {{ .secretKey | quote }}, path: canary/key}
{{- end }}
{{- end }}
{{- range $folder, $from := dict "kafka" .Values.kafka "registry" .Values.registry }}
{{- with $from.credentials }}
{{- if .secret }}
- secret:
    name: {{ .secret }}
    items:
      {{- if not $from.saslUsername }}
      - {key: {{ .usernameKey | quote }}, path: {{ $folder }}/username}
      {{- end }}
      - {key: {{ .passwordKey | quote }}, path: {{ $folder }}/password}
{{- end }}
{{- end }}
{{- with $from.tls }}
{{- if or .ca.secret .ca.configMap }}
- {{ ternary "secret" "configMap" (not (empty .ca.secret)) }}:
    name: {{ .ca.secret | default .ca.configMap }}
    items:
      - {key: {{ .ca.key | quote }}, path: {{ $folder }}/ca.crt}
{{- end }}
{{- if .client.secret }}
- secret:
    name: {{ .client.secret }}
    items:
      - {key: {{ .client.certificateKey | quote }}, path: {{ $folder }}/tls.crt}
      - {key: {{ .client.privateKeyKey | quote }}, path: {{ $folder }}/tls.key}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
