{{- /* What is worked out from the values before anything is rendered. Helpers that return JSON are read with fromJson. */ -}}

{{- /* Kinds that are enabled, in the order of the alphabet. */ -}}
{{- define "ledgerline.kinds" -}}
{{- $kinds := list -}}
{{- range $kind, $topic := .Values.kafka.topics -}}
{{- if $topic.enabled -}}{{- $kinds = append $kinds $kind -}}{{- end -}}
{{- end -}}
{{- toJson $kinds -}}
{{- end -}}

{{- /* One worker with what it has in common: (dict "root" $ "key" "main"). Adds `topics`, `poolSize` and `autoscaling`. */ -}}
{{- define "ledgerline.worker" -}}
{{- $entry := default (dict) (get .root.Values.workers .key) -}}
{{- $worker := mergeOverwrite (deepCopy .root.Values.worker) (omit (deepCopy $entry) "topics" "autoscaling") -}}
{{- $kinds := default (include "ledgerline.kinds" .root | fromJsonArray) $entry.topics -}}
{{- $_ := set $worker "topics" (sortAlpha $kinds) -}}
{{- $_ := set $worker "autoscaling" (mergeOverwrite (deepCopy .root.Values.autoscaling) (deepCopy (default (dict) $entry.autoscaling))) -}}
{{- $_ := set $worker "poolSize" (include "ledgerline.poolSize" (dict "root" .root "kinds" $kinds) | int) -}}
{{- toJson $worker -}}
{{- end -}}

{{- /* Connections of a worker's pool: those that write, one that claims, one to spare, and what maintenance and workflows need. */ -}}
{{- define "ledgerline.poolSize" -}}
{{- $values := .root.Values -}}
{{- $size := 2 -}}
{{- range .kinds -}}
{{- $size = add $size (dig . "writers" 1 $values.kafka.topics) -}}
{{- end -}}
{{- if or $values.compaction.enabled $values.retention.olderThanDays -}}{{- $size = add $size 1 -}}{{- end -}}
{{- if $values.workflows.enabled -}}{{- $size = add $size 2 -}}{{- end -}}
{{- default $size $values.database.pool.size -}}
{{- end -}}

{{- /* A replay writes one topic after another's like, with one connection for each kind that may be asked for. */ -}}
{{- define "ledgerline.replayPoolSize" -}}
{{- default (add 2 (len (include "ledgerline.kinds" . | fromJsonArray))) .Values.replay.poolSize -}}
{{- end -}}

{{- define "ledgerline.group" -}}
{{- default (include "ledgerline.fullname" .) .Values.kafka.group -}}
{{- end -}}

{{- /* Most and fewest pods of a worker. */ -}}
{{- define "ledgerline.mostPods" -}}
{{- if eq .autoscaling.mode "none" -}}{{- default 1 .replicaCount | int -}}{{- else -}}{{- .autoscaling.maxReplicas | int -}}{{- end -}}
{{- end -}}
{{- define "ledgerline.fewestPods" -}}
{{- if eq .autoscaling.mode "none" -}}{{- default 1 .replicaCount | int -}}{{- else -}}{{- .autoscaling.minReplicas | int -}}{{- end -}}
{{- end -}}

{{- /* Failures that the startup probe forgives: until the schema is there, and a minute. */ -}}
{{- define "ledgerline.startupFailures" -}}
{{- $probe := .worker.probes.startup -}}
{{- $computed := divf (add .root.Values.migrations.waitSeconds 60) $probe.periodSeconds | ceil | int -}}
{{- default $computed $probe.failureThreshold | int -}}
{{- end -}}
