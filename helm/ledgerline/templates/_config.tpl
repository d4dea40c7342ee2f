{{- /* The program's configuration file: every key that the program has and the values offer. Secrets are named by file, never written. */ -}}

{{- /* (dict "root" $ "kinds" (list "odds") "poolSize" 8 "role" "worker"); roles: worker, replay. */ -}}
{{- define "ledgerline.config" -}}
{{- $values := .root.Values -}}
{{- $kafka := $values.kafka -}}
[kafka]
brokers = {{ join "," $kafka.brokers | toJson }}
group = {{ include "ledgerline.group" .root | toJson }}
start = {{ $kafka.start | toJson }}
security = {{ $kafka.security | toJson }}
{{- if eq $kafka.security "sasl-tls" }}
sasl_mechanism = {{ $kafka.sasl.mechanism | toJson }}
sasl_username = {{ $kafka.sasl.username | toJson }}
sasl_password_file = "/etc/ledgerline/secrets/kafka/password"
{{- end }}
{{- if $kafka.tls.caSecret }}
ca_file = "/etc/ledgerline/secrets/kafka/ca.crt"
{{- end }}
{{- if $kafka.tls.clientSecret }}
certificate_file = "/etc/ledgerline/secrets/kafka/tls.crt"
key_file = "/etc/ledgerline/secrets/kafka/tls.key"
{{- end }}
session_timeout_ms = {{ int64 $kafka.sessionTimeoutMs }}
topic_refresh_ms = {{ int64 $kafka.topicRefreshMs }}
{{- with $kafka.fetchQueueKib }}
fetch_queue_kib = {{ int64 . }}
{{- end }}
fetch_wait_ms = {{ int64 $kafka.fetchWaitMs }}

{{ include "ledgerline.databaseConfig" . }}
{{- $root := . }}
{{- range $kind, $topic := $kafka.topics }}
{{- $read := has $kind $root.kinds }}

[topics.{{ $kind }}]
name = {{ $topic.name | toJson }}
enabled = {{ $read }}
{{- if $read }}
writers = {{ ternary (int64 $topic.writers) 1 (eq $root.role "worker") }}
batch.rows = {{ int64 $topic.batch.rows }}
batch.bytes = {{ int64 $topic.batch.bytes }}
batch.age_ms = {{ int64 $topic.batch.ageMs }}
dead_letters.max_consecutive = {{ int64 $topic.deadLetters.maxConsecutive }}
dead_letters.max_ratio = {{ $topic.deadLetters.maxRatio | toJson }}
dead_letters.window = {{ int64 $topic.deadLetters.window }}
{{- end }}
{{- end }}

[memory]
budget_mib = {{ int64 $values.memory.budgetMib }}

{{ include "ledgerline.logConfig" .root }}
{{- if eq .role "worker" }}

[http]
listen = "0.0.0.0:{{ int $values.http.port }}"
page = {{ $values.http.page }}
{{- if $values.http.control.existingSecret }}
control_listen = "{{ ternary "0.0.0.0" "127.0.0.1" $values.http.control.expose }}:{{ int $values.http.control.port }}"
token_file = "/etc/ledgerline/secrets/http/token"
{{- end }}

[shutdown]
drain_ms = {{ int64 $values.shutdown.drainMs }}

[compaction]
enabled = {{ $values.compaction.enabled }}
every_ms = {{ int64 $values.compaction.everyMs }}
older_than_hours = {{ int64 $values.compaction.olderThanHours }}
{{- with $values.retention.olderThanDays }}

[retention]
older_than_days = {{ int64 . }}
{{- end }}

[workflows]
enabled = {{ $values.workflows.enabled }}
poll_ms = {{ int64 $values.workflows.pollMs }}
{{- with $values.workflows.filesDir }}
files_dir = {{ . | toJson }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ledgerline.databaseConfig" -}}
{{- $database := .root.Values.database -}}
[database]
url_file = "/etc/ledgerline/secrets/database/url"
{{- if and $database.readSecret (ne .role "migrate") }}
read_url_file = "/etc/ledgerline/secrets/database/read-url"
{{- end }}
read_connections = {{ int64 $database.readConnections }}
read_timeout_ms = {{ int64 $database.readTimeoutMs }}
tls = {{ $database.tls | toJson }}
{{- if $database.caSecret }}
ca_file = "/etc/ledgerline/secrets/database/ca.crt"
{{- end }}
statement_timeout_ms = {{ int64 $database.statementTimeoutMs }}
lock_timeout_ms = {{ int64 $database.lockTimeoutMs }}
idle_in_transaction_timeout_ms = {{ int64 $database.idleInTransactionTimeoutMs }}
pool.size = {{ .poolSize }}
{{- if ne .role "migrate" }}
pool.min_idle = {{ min (int64 $database.pool.minIdle) .poolSize }}
{{- end }}
pool.checkout_timeout_ms = {{ int64 $database.pool.checkoutTimeoutMs }}
pool.idle_timeout_ms = {{ int64 $database.pool.idleTimeoutMs }}
pool.max_lifetime_ms = {{ int64 $database.pool.maxLifetimeMs }}
pool.connect_timeout_ms = {{ int64 $database.pool.connectTimeoutMs }}
{{- with $database.pool.cachedSelections }}
pool.cached_selections = {{ int64 . }}
{{- end }}
{{- end -}}

{{- define "ledgerline.logConfig" -}}
[log]
format = {{ .Values.log.format | toJson }}
level = {{ .Values.log.level | toJson }}
throughput_every_ms = {{ int64 .Values.log.throughputEveryMs }}
{{- end -}}

{{- /* What a migration reads, and so what a new migration Job is made for. The pool is the smallest that the program takes beside its default topics. */ -}}
{{- define "ledgerline.migrateConfig" -}}
{{ include "ledgerline.databaseConfig" (dict "root" . "role" "migrate" "poolSize" 6) }}

{{ include "ledgerline.logConfig" . }}
{{- end -}}
