{{- /* Parts of pods. What must stay true: every pod fits the restricted profile, mounts no token, and sees each secret as a file. */ -}}

{{- /* Secrets as files below /etc/ledgerline/secrets: (dict "root" $ "role" "worker"); roles: worker, replay, migrate. */ -}}
{{- define "ledgerline.secretSources" -}}
{{- $values := .root.Values -}}
{{- $kafka := $values.kafka -}}
{{- $database := $values.database -}}
{{- $inline := include "ledgerline.fullname" .root -}}
{{- $migrator := and (eq .role "migrate") $database.migratorSecret -}}
- secret:
    name: {{ if $migrator }}{{ $migrator }}{{ else }}{{ default $inline $database.existingSecret }}{{ end }}
    items:
      - key: {{ if $migrator }}{{ $database.migratorUrlKey }}{{ else }}{{ ternary $database.urlKey "database-url" (ne $database.existingSecret "") }}{{ end }}
        path: database/url
{{- with $database.caSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $database.caKey }}
        path: database/ca.crt
{{- end }}
{{- if ne .role "migrate" }}
{{- with $database.readSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $database.readUrlKey }}
        path: database/read-url
{{- end }}
{{- if eq $kafka.security "sasl-tls" }}
- secret:
    name: {{ default $inline $kafka.sasl.existingSecret }}
    items:
      - key: {{ ternary $kafka.sasl.passwordKey "kafka-password" (ne $kafka.sasl.existingSecret "") }}
        path: kafka/password
{{- end }}
{{- with $kafka.tls.caSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $kafka.tls.caKey }}
        path: kafka/ca.crt
{{- end }}
{{- with $kafka.tls.clientSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $kafka.tls.certificateKey }}
        path: kafka/tls.crt
      - key: {{ $kafka.tls.privateKeyKey }}
        path: kafka/tls.key
{{- end }}
{{- end }}
{{- if eq .role "worker" }}
{{- with $values.http.control.existingSecret }}
- secret:
    name: {{ . }}
    items:
      - key: {{ $values.http.control.tokenKey }}
        path: http/token
{{- end }}
{{- end }}
{{- end -}}

{{- /* (dict "root" $ "role" "worker" "config" "name of the ConfigMap"). */ -}}
{{- define "ledgerline.volumes" -}}
- name: config
  configMap:
    name: {{ .config }}
    defaultMode: 292 # 0444
- name: secrets
  projected:
    defaultMode: 288 # 0440: root, and the group of the pod
    sources:
      {{- include "ledgerline.secretSources" . | nindent 6 }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .root.Values.worker.tmpSizeLimit }}
{{- end -}}

{{- /* One file and not the folder: a folder that is read-only could not hold the secrets' one. */ -}}
{{- define "ledgerline.mounts" -}}
- name: config
  mountPath: /etc/ledgerline/ledgerline.toml
  subPath: ledgerline.toml
  readOnly: true
- name: secrets
  mountPath: /etc/ledgerline/secrets
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- end -}}

{{- define "ledgerline.image.fields" -}}
image: {{ include "ledgerline.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- /* What all pods have: account, no token, no service links, security. (dict "root" $ "account" "..."). */ -}}
{{- define "ledgerline.podBasics" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.worker.podSecurityContext | nindent 2 }}
{{- end -}}

{{- /* Where pods of Jobs run: as workers do. */ -}}
{{- define "ledgerline.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* A pod that moves away says nothing about the work; a configuration that cannot be used will not get better. */ -}}
{{- define "ledgerline.failurePolicy" -}}
rules:
  - action: Ignore
    onPodConditions:
      - type: DisruptionTarget
        status: "True"
  - action: FailJob
    onExitCodes:
      containerName: {{ . }}
      operator: In
      values: [2]
{{- end -}}

{{- /* The pod of one command of the program: (dict "root" $ "role" "migrate" "component" "migrate" "config" "..." "account" "..." "args" (list) "env" (list) "resources" (dict) "priority" ""). */ -}}
{{- define "ledgerline.commandPod" -}}
{{ include "ledgerline.podBasics" . }}
restartPolicy: Never
{{- with .priority }}
priorityClassName: {{ . }}
{{- end }}
{{- with include "ledgerline.placement" .root.Values.worker }}
{{- . }}
{{- end }}
containers:
  - name: {{ .component }}
    {{- include "ledgerline.image.fields" .root | nindent 4 }}
    args:
      - --config
      - /etc/ledgerline/ledgerline.toml
      {{- range .args }}
      - {{ . | quote }}
      {{- end }}
    {{- with .env }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- toYaml .root.Values.worker.securityContext | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      {{- include "ledgerline.mounts" . | nindent 6 }}
volumes:
  {{- include "ledgerline.volumes" . | nindent 2 }}
{{- end -}}
