{{/*
Names and labels. Those of the sealed half are the Sealed Secrets chart's, whatever this chart is called: the selector of a
Deployment cannot be changed, and kubeseal looks for the Service by its name.
*/}}
{{- define "selkie.name" -}}
{{- default "sealed-secrets" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "selkie.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (default "sealed-secrets" .Values.nameOverride) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (default "sealed-secrets" .Values.nameOverride) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "selkie.namespace" -}}
{{- default .Release.Namespace .Values.namespace -}}
{{- end -}}

{{/* Another name, so that no selector of the sealed half finds a pod of this one. */}}
{{- define "selkie.external.name" -}}
{{- printf "%s-external" (include "selkie.name" . | trunc 54 | trimSuffix "-") -}}
{{- end -}}

{{- define "selkie.external.fullname" -}}
{{- printf "%s-external" (include "selkie.fullname" . | trunc 54 | trimSuffix "-") -}}
{{- end -}}

{{- define "selkie.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "selkie.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "selkie.external.account" -}}
{{- if .Values.external.serviceAccount.create -}}
{{- default (include "selkie.external.fullname" .) .Values.external.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.external.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Labels that select. Arguments: context, external. */}}
{{- define "selkie.matchLabels" -}}
app.kubernetes.io/name: {{ include (ternary "selkie.external.name" "selkie.name" (default false .external)) .context }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
{{- end -}}

{{/*
The metadata of an object. Arguments: context, name, namespace (none for what has no namespace), external, labels and
annotations (lists of maps; of two values for one key the first one counts, and all win over the common ones).
*/}}
{{- define "selkie.metadata" -}}
{{- $context := .context -}}
{{- $labels := dict -}}
{{- range default list .labels }}{{ $labels = merge $labels (default dict .) }}{{ end -}}
{{- $own := include "selkie.matchLabels" . | fromYaml -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" $context.Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/version" $context.Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "sealed-secrets" -}}
{{- $labels = merge $own $labels (default dict $context.Values.commonLabels) -}}
{{- $annotations := dict -}}
{{- range default list .annotations }}{{ $annotations = merge $annotations (default dict .) }}{{ end -}}
{{- $annotations = merge $annotations (default dict $context.Values.commonAnnotations) -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels: {{- include "selkie.render" (dict "value" $labels "context" $context) | nindent 2 }}
{{- with $annotations }}
annotations: {{- include "selkie.render" (dict "value" . "context" $context) | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A value that may hold templates itself. Arguments: value, context. */}}
{{- define "selkie.render" -}}
{{- tpl (kindIs "string" .value | ternary .value (toYaml .value)) .context -}}
{{- end -}}

{{/* Whether a half agrees on a leader. Arguments: context, values (with leaderElect). Prints true or nothing. */}}
{{- define "selkie.leaderElect" -}}
{{- if kindIs "bool" .values.leaderElect }}{{ if .values.leaderElect }}true{{ end }}{{ else if .context.Values.rbac.create }}true{{ end -}}
{{- end -}}

{{/* The namespaces that are served under namespaced Roles: the own one and the others. */}}
{{- define "selkie.servedNamespaces" -}}
{{- $names := list (include "selkie.namespace" .) -}}
{{- range .Values.additionalNamespaces }}{{ $names = append $names (tpl . $) }}{{ end -}}
{{- $names | uniq | toJson -}}
{{- end -}}
