{{- /* What values.schema.json cannot say: rules over several keys. Each prints one line: the key, what is wrong, what to do. Called by validate.yaml. */ -}}

{{- define "ledgerline.rules" -}}
{{ include "ledgerline.rules.image" . }}
{{ include "ledgerline.rules.kafka" . }}
{{ include "ledgerline.rules.database" . }}
{{ include "ledgerline.rules.workers" . }}
{{ include "ledgerline.rules.jobs" . }}
{{ include "ledgerline.rules.budgets" . }}
{{ include "ledgerline.rules.others" . }}
{{- end -}}

{{- define "ledgerline.rules.image" -}}
{{- if and (not .Values.image.digest) (eq (default .Chart.AppVersion .Values.image.tag) "latest") }}
image.tag: `latest` is another program tomorrow; set a version, or image.digest
{{- end }}
{{- end -}}

{{- define "ledgerline.rules.kafka" -}}
{{- $kafka := .Values.kafka -}}
{{- if not $kafka.brokers }}
kafka.brokers: is empty; set `host:port` of at least one broker, such as --set 'kafka.brokers={broker:9093}'
{{- end }}
{{- if and (eq $kafka.security "plaintext") (not $kafka.allowPlaintext) }}
kafka.security: `plaintext` leaves records readable on the way; use `tls` or `sasl-tls`, or set kafka.allowPlaintext
{{- end }}
{{- if eq $kafka.security "sasl-tls" }}
{{- if not $kafka.sasl.username }}
kafka.sasl.username: is empty; `sasl-tls` needs a user
{{- end }}
{{- if not (or $kafka.sasl.existingSecret $kafka.sasl.password) }}
kafka.sasl.existingSecret: is empty; name the Secret that holds the password of kafka.sasl.username
{{- end }}
{{- end }}
{{- if and $kafka.sasl.password $kafka.sasl.existingSecret }}
kafka.sasl.password: kafka.sasl.existingSecret is set too; keep one of them
{{- end }}
{{- if and $kafka.sasl.password (not .Values.allowInlineSecrets) }}
kafka.sasl.password: would lie in the release's history; put it into a Secret and name that in kafka.sasl.existingSecret, or set allowInlineSecrets
{{- end }}
{{- $names := dict }}
{{- range $kind, $topic := $kafka.topics }}
{{- if $topic.enabled }}
{{- with get $names $topic.name }}
kafka.topics.{{ $kind }}.name: `{{ $topic.name }}` is the topic of {{ . }} too; one topic carries one kind
{{- end }}
{{- $_ := set $names $topic.name $kind }}
{{- end }}
{{- end }}
{{- if not $names }}
kafka.topics: none is enabled; enable at least one
{{- end }}
{{- end -}}

{{- define "ledgerline.rules.database" -}}
{{- $database := .Values.database -}}
{{- if not (or $database.existingSecret $database.url) }}
database.existingSecret: is empty; name the Secret whose key `{{ $database.urlKey }}` holds postgres://user:password@host:port/database
{{- end }}
{{- if and $database.existingSecret $database.url }}
database.url: database.existingSecret is set too; keep one of them
{{- end }}
{{- if and $database.url (not .Values.allowInlineSecrets) }}
database.url: would lie in the release's history; put it into a Secret and name that in database.existingSecret, or set allowInlineSecrets
{{- end }}
{{- if and (eq $database.tls "disable") (not $database.allowPlaintext) }}
database.tls: `disable` leaves the password readable on the way; use `verify`, or set database.allowPlaintext
{{- end }}
{{- end -}}

{{- define "ledgerline.rules.workers" -}}
{{- $owners := dict -}}
{{- $enabled := include "ledgerline.kinds" . | fromJsonArray -}}
{{- if not .Values.workers }}
workers: there is none, and nobody consumes; keep at least one entry
{{- end }}
{{- range $key, $entry := .Values.workers }}
{{- $worker := include "ledgerline.worker" (dict "root" $ "key" $key) | fromJson }}
{{- range $kind := $worker.topics }}
{{- if not (has $kind $enabled) }}
workers.{{ $key }}.topics: `{{ $kind }}` is not enabled; set kafka.topics.{{ $kind }}.enabled, or leave it out here
{{- end }}
{{- with get $owners $kind }}
workers.{{ $key }}.topics: `{{ $kind }}` belongs to workers.{{ . }} already; leave it out in one of them (`workers.<name>: null` takes a whole entry away)
{{- end }}
{{- $_ := set $owners $kind $key }}
{{- end }}
{{- include "ledgerline.rules.worker" (dict "root" $ "key" $key "worker" $worker) }}
{{- end }}
{{- range $enabled }}
{{- if and $.Values.workers (not (hasKey $owners .)) }}
kafka.topics.{{ . }}: is enabled, and no entry of workers consumes it; name it in one, or disable it
{{- end }}
{{- end }}
{{- end -}}

{{- define "ledgerline.rules.worker" -}}
{{- $values := .root.Values -}}
{{- $worker := .worker -}}
{{- $key := .key -}}
{{- $grace := divf (add $values.shutdown.drainMs $values.database.statementTimeoutMs) 1000 | ceil | int | add 10 }}
{{- if lt (int $worker.terminationGracePeriodSeconds) (int $grace) }}
worker.terminationGracePeriodSeconds: {{ int $worker.terminationGracePeriodSeconds }} is too short for workers.{{ $key }}; shutdown.drainMs, database.statementTimeoutMs and 10 s need {{ $grace }}
{{- end }}
{{- $startup := mul (include "ledgerline.startupFailures" . | int) (int $worker.probes.startup.periodSeconds) }}
{{- if lt (int $startup) (int $values.migrations.waitSeconds) }}
worker.probes.startup: gives up after {{ $startup }} s, and migrations.waitSeconds is {{ int $values.migrations.waitSeconds }}; leave failureThreshold out, or raise it
{{- end }}
{{- if le (int $worker.progressDeadlineSeconds) (int $startup) }}
worker.progressDeadlineSeconds: {{ int $worker.progressDeadlineSeconds }} must be above the {{ $startup }} s of the startup probe of workers.{{ $key }}
{{- end }}
{{- if ne (toString $worker.strategy.maxSurge) "0" }}
worker.strategy.maxSurge: `{{ $worker.strategy.maxSurge }}` makes pods that get no partition and cost a rebalance and connections; leave it at 0 (workers.{{ $key }})
{{- end }}
{{- if has (toString $worker.strategy.maxUnavailable) (list "0" "0%") }}
worker.strategy.maxUnavailable: 0 and no surge never replace a pod; set 1 or more (workers.{{ $key }})
{{- end }}
{{- $scaling := $worker.autoscaling }}
{{- if ne $scaling.mode "none" }}
{{- if lt (int $scaling.maxReplicas) (int $scaling.minReplicas) }}
autoscaling.maxReplicas: {{ int $scaling.maxReplicas }} is below minReplicas {{ int $scaling.minReplicas }} (workers.{{ $key }})
{{- end }}
{{- if and (eq $scaling.mode "hpa") (not (or $scaling.hpa.cpu $scaling.hpa.memory $scaling.hpa.metrics)) }}
autoscaling.hpa: no metric is set; set cpu, memory or metrics (workers.{{ $key }})
{{- end }}
{{- if and (eq $scaling.mode "keda") $scaling.keda.extraTriggers (not $scaling.keda.formula) }}
autoscaling.keda.formula: extraTriggers need one, because every trigger must stand in it; such as `max(odds / 60000, lag_seconds / 30)` (workers.{{ $key }})
{{- end }}
{{- end }}
{{- $partitions := 0 }}
{{- $known := true }}
{{- range $worker.topics }}
{{- $count := dig . "partitions" 0 $values.kafka.topics | int }}
{{- $partitions = add $partitions $count }}
{{- if not $count }}{{- $known = false }}{{- end }}
{{- end }}
{{- $most := include "ledgerline.mostPods" $worker | int }}
{{- if and $known (gt $most (int $partitions)) }}
autoscaling.maxReplicas: up to {{ $most }} pods of workers.{{ $key }} for {{ $partitions }} partitions; the rest would idle. Lower it (or worker.replicaCount)
{{- end }}
{{- $fewest := include "ledgerline.fewestPods" $worker | int }}
{{- $bound := $values.podDisruptionBudget.minAvailable }}
{{- if and $values.podDisruptionBudget.enabled (kindIs "float64" $bound) (gt $fewest 1) (ge (int $bound) $fewest) }}
podDisruptionBudget.minAvailable: {{ int $bound }} of {{ $fewest }} pods of workers.{{ $key }} block every node drain; lower it, or set maxUnavailable instead
{{- end }}
{{- range $name, $value := $worker.env }}
{{- if hasPrefix "LEDGERLINE_" $name }}
worker.env.{{ $name }}: configuration comes from the values (kafka, database, http, log, ...); set it there (workers.{{ $key }})
{{- end }}
{{- end }}
{{- range $name, $value := $worker.podLabels }}
{{- if or (hasPrefix "app.kubernetes.io/" $name) (hasPrefix "ledgerline/" $name) }}
worker.podLabels.{{ $name }}: is the chart's own; choose another name (workers.{{ $key }})
{{- end }}
{{- end }}
{{- range $worker.extraVolumes }}
{{- if has .name (list "config" "secrets" "tmp") }}
worker.extraVolumes: `{{ .name }}` is the chart's own; choose another name (workers.{{ $key }})
{{- end }}
{{- end }}
{{- $memory := include "ledgerline.mebibytes" (dig "limits" "memory" "" $worker.resources) | int }}
{{- if not $memory }}
worker.resources.limits.memory: is not set, or not in Mi or Gi; set it, such as 384Mi (workers.{{ $key }})
{{- else if lt $memory (add $values.memory.budgetMib 96 | int) }}
worker.resources.limits.memory: {{ $memory }} MiB is too little for memory.budgetMib {{ int $values.memory.budgetMib }} and 96 MiB for the program; raise it (workers.{{ $key }})
{{- end }}
{{- end -}}

{{- /* MiB of `384Mi` or `1Gi`; 0 for anything else. */ -}}
{{- define "ledgerline.mebibytes" -}}
{{- $text := toString . -}}
{{- if regexMatch "^[0-9]+Mi$" $text -}}{{- trimSuffix "Mi" $text -}}
{{- else if regexMatch "^[0-9]+Gi$" $text -}}{{- mul 1024 (trimSuffix "Gi" $text | int) -}}
{{- else -}}0{{- end -}}
{{- end -}}

{{- define "ledgerline.rules.jobs" -}}
{{- $topics := .Values.kafka.topics -}}
{{- $memory := include "ledgerline.mebibytes" (dig "limits" "memory" "" .Values.replay.resources) | int }}
{{- if and (or .Values.replay.template.enabled .Values.replay.jobs) (lt $memory (add .Values.memory.budgetMib 96 | int)) }}
replay.resources.limits.memory: {{ $memory }} MiB is too little for memory.budgetMib {{ int .Values.memory.budgetMib }} and 96 MiB for the program; raise it
{{- end }}
{{- if not (include "ledgerline.mebibytes" (dig "limits" "memory" "" .Values.migrations.resources) | int) }}
migrations.resources.limits.memory: is not set, or not in Mi or Gi; set it, such as 256Mi
{{- end }}
{{- range $id, $job := .Values.replay.jobs }}
{{- if not (dig $job.topic "enabled" false $topics) }}
replay.jobs.{{ $id }}.topic: `{{ $job.topic }}` is no enabled entry of kafka.topics ({{ include "ledgerline.kinds" $ | fromJsonArray | join ", " }})
{{- end }}
{{- if not (trim $job.reason) }}
replay.jobs.{{ $id }}.reason: is empty; say why, for whoever finds the Job later
{{- end }}
{{- end }}
{{- if and (eq .Values.migrations.mode "hook") (or .Values.database.url .Values.externalSecrets.enabled) (not .Values.database.migratorSecret) }}
{{- if or .Values.database.url (hasKey .Values.externalSecrets.secrets .Values.database.existingSecret) }}
migrations.mode: a `hook` runs before the chart's own Secret exists; use `job`, or a database.existingSecret that is there already
{{- end }}
{{- end }}
{{- if and (eq .Values.migrations.mode "hook") .Values.externalSecrets.enabled .Values.database.migratorSecret (hasKey .Values.externalSecrets.secrets .Values.database.migratorSecret) }}
migrations.mode: a `hook` runs before the ExternalSecret of database.migratorSecret is fetched; use `job`
{{- end }}
{{- end -}}

{{- define "ledgerline.rules.budgets" -}}
{{- $database := .Values.database -}}
{{- with int $database.connectionBudget }}
{{- $used := 0 }}
{{- range $key, $entry := $.Values.workers }}
{{- $worker := include "ledgerline.worker" (dict "root" $ "key" $key) | fromJson }}
{{- $used = add $used (mul (include "ledgerline.mostPods" $worker | int) (add $worker.poolSize $database.readConnections (ternary 2 1 $.Values.http.page))) }}
{{- end }}
{{- if ne $.Values.migrations.mode "none" }}{{- $used = add $used 1 }}{{- end }}
{{- $replays := add (len $.Values.replay.jobs) (ternary 1 0 $.Values.replay.template.enabled) }}
{{- $used = add $used (mul $replays (add (include "ledgerline.replayPoolSize" $ | int) $database.readConnections)) }}
{{- if gt (int $used) . }}
database.connectionBudget: pods may open {{ $used }} connections together (workers, replays, migration), and the budget is {{ . }}; lower replicas, writers or pools, or raise it
{{- end }}
{{- end }}
{{- $budget := .Values.podDisruptionBudget -}}
{{- if $budget.enabled }}
{{- if and (not (kindIs "invalid" $budget.maxUnavailable)) (not (kindIs "invalid" $budget.minAvailable)) }}
podDisruptionBudget: has both maxUnavailable and minAvailable; set the one that you do not want to null
{{- end }}
{{- if and (kindIs "invalid" $budget.maxUnavailable) (kindIs "invalid" $budget.minAvailable) }}
podDisruptionBudget: has neither maxUnavailable nor minAvailable; set one, or podDisruptionBudget.enabled=false
{{- end }}
{{- end }}
{{- end -}}

{{- define "ledgerline.rules.others" -}}
{{- range $name, $value := .Values.commonLabels }}
{{- if or (hasPrefix "app.kubernetes.io/" $name) (hasPrefix "helm.sh/" $name) (hasPrefix "ledgerline/" $name) }}
commonLabels.{{ $name }}: is the chart's own; choose another name
{{- end }}
{{- end }}
{{- if and (or .Values.strimzi.topics.enabled .Values.strimzi.user.enabled) (not .Values.strimzi.cluster) }}
strimzi.cluster: is empty; name the Kafka cluster that topics and user belong to
{{- end }}
{{- if .Values.strimzi.topics.enabled }}
{{- range $kind, $topic := .Values.kafka.topics }}
{{- if and $topic.enabled (not (int $topic.partitions)) }}
kafka.topics.{{ $kind }}.partitions: is 0; a topic that Strimzi makes needs a number
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.externalSecrets.enabled (not .Values.externalSecrets.store.name) }}
externalSecrets.store.name: is empty; name the store that secrets come from
{{- end }}
{{- if and .Values.http.control.expose (not .Values.http.control.existingSecret) }}
http.control.expose: nothing listens without a token; name its Secret in http.control.existingSecret
{{- end }}
{{- if eq (int .Values.http.port) (int .Values.http.control.port) }}
http.control.port: is http.port too; choose another
{{- end }}
{{- end -}}
