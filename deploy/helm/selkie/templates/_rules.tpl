{{/*
What each half does with the API server, and no more: tests/tests/deploy takes every verb away and sees it refused.
*/}}
{{- define "selkie.sealed.rules" -}}
- apiGroups: [bitnami.com]
  resources: [sealedsecrets]
  verbs: [get, list, watch]
- apiGroups: [bitnami.com]
  resources: [sealedsecrets/status]
  verbs: [update]
# The Secrets that it makes, and in its own namespace the sealing keys.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Argument: whether ClusterSecretStores are served. */}}
{{- define "selkie.external.rules" -}}
# patch takes the finalizer of the External Secrets Operator off.
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  verbs: [list, watch, patch]
- apiGroups: [external-secrets.io]
  resources: [secretstores{{ if .cluster }}, clustersecretstores{{ end }}]
  verbs: [get, list, watch]
- apiGroups: [external-secrets.io]
  resources: [externalsecrets/status, secretstores/status{{ if .cluster }}, clustersecretstores/status{{ end }}]
  verbs: [patch]
# The Secrets that it makes, and those that stores log in with.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, delete]
# Authorities that a caProvider names.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
{{- if .cluster }}
# The conditions of a ClusterSecretStore.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Argument: the name of the Lease. A Lease that is being created has no name that a rule could know. */}}
{{- define "selkie.lease.rules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ . }}]
  verbs: [get, update]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end -}}

{{/* The keys alone, where the rest is granted by somebody else (rbac.clusterRole and rbac.namespacedRoles false). */}}
{{- define "selkie.key.rules" -}}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ .Values.secretName }}]
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, list]
{{- end -}}

{{/* Arguments: context, kind (Role or ClusterRole), role, account. */}}
{{- define "selkie.binding" -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ include "selkie.namespace" .context }}
{{- end -}}
