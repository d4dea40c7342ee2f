{{- /* Names and labels of everything. What must stay true: names have room for the longest suffix within 63 characters; selectors never change. */ -}}

{{- define "ledgerline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 30 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 30 characters: `keda-hpa-<30>-<worker's 20>` and `<30>-replay-<14>-<8>` fit into 63. What is cut gets a hash, so that two long names stay two. */ -}}
{{- define "ledgerline.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := printf "%s-%s" .Release.Name $name -}}
{{- if contains $name .Release.Name -}}{{- $full = .Release.Name -}}{{- end -}}
{{- if .Values.fullnameOverride -}}{{- $full = .Values.fullnameOverride -}}{{- end -}}
{{- if gt (len $full) 30 -}}
{{- printf "%s-%s" ($full | trunc 21 | trimSuffix "-") ($full | sha256sum | trunc 8) -}}
{{- else -}}
{{- $full | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ledgerline.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "ledgerline.serviceAccountName" -}}
{{- default (ternary (include "ledgerline.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* What selects pods of this release. Immutable: never add to it. */ -}}
{{- define "ledgerline.selector" -}}
app.kubernetes.io/name: {{ include "ledgerline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* What selects pods of one component of it: (dict "root" $ "component" "worker" "worker" "main"). */ -}}
{{- define "ledgerline.componentSelector" -}}
{{ include "ledgerline.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .worker }}
ledgerline/worker: {{ . }}
{{- end }}
{{- end -}}

{{- /* Labels of pods. Without the chart's version: a new chart alone restarts nobody. */ -}}
{{- define "ledgerline.podLabels" -}}
{{ include "ledgerline.componentSelector" . }}
app.kubernetes.io/part-of: ledgerline
app.kubernetes.io/version: {{ include "ledgerline.version" .root | quote }}
{{- end -}}

{{- define "ledgerline.version" -}}
{{- default .Chart.AppVersion .Values.image.tag | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{- /* Labels of every object: the chart's own, and the user's. */ -}}
{{- define "ledgerline.labels" -}}
{{ include "ledgerline.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ledgerline.ownLabels" -}}
{{ include "ledgerline.selector" . }}
app.kubernetes.io/version: {{ include "ledgerline.version" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: ledgerline
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end -}}

{{- /* metadata of an object: (dict "root" $ "name" "..." "component" "worker" "annotations" (dict) "labels" (dict)). */ -}}
{{- define "ledgerline.metadata" -}}
name: {{ .name }}
namespace: {{ default (include "ledgerline.namespace" .root) .namespace }}
labels:
  {{- include "ledgerline.ownLabels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with merge (dict) (default (dict) .labels) .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ledgerline.image" -}}
{{- $name := .Values.image.repository -}}
{{- with .Values.image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}
