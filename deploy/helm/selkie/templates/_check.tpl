{{/*
What cannot be carried out is an error that names the key, before anything is installed. Every template starts with this.
*/}}
{{- define "selkie.check" -}}
{{- if not (and .Values.external .Values.image (hasKey .Values "replicaCount")) -}}
{{- fail "\n\nThe values are those of another chart: `helm upgrade --reuse-values` keeps the old chart's defaults and drops this one's. Use --reset-then-reuse-values, which keeps what you set yourself.\n" -}}
{{- end -}}
{{- if contains "sealed-secrets-controller" .Values.image.repository -}}
{{- fail (printf "\n\nimage.repository is %s, the image of Sealed Secrets, which does not know this chart's arguments. Name the image of Selkie (deploy/Containerfile builds it).\n" .Values.image.repository) -}}
{{- end -}}
{{- range $key := list "privateKeyAnnotations" "privateKeyLabels" -}}
{{- range $name, $value := index $.Values $key -}}
{{- if or (not (kindIs "string" $value)) (contains "," $value) -}}
{{- fail (printf "\n\n%s.%s has to be a text without a comma.\n" $key $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.rbac.pspEnabled -}}
{{- fail "\n\nrbac.pspEnabled is true: PodSecurityPolicy is gone from Kubernetes since 1.25. Take it out of your values; the pods satisfy the restricted Pod Security Standard.\n" -}}
{{- end -}}
{{- $version := default .Capabilities.KubeVersion.Version .Values.kubeVersion -}}
{{- if semverCompare "<1.25-0" $version -}}
{{- fail (printf "\n\nKubernetes %s is too old: 1.25 or newer is needed.\n" $version) -}}
{{- end -}}
{{- if not (has .Values.ingress.apiVersion (list "" "networking.k8s.io/v1")) -}}
{{- fail (printf "\n\ningress.apiVersion is %s, and only networking.k8s.io/v1 is left in Kubernetes. Take it out of your values.\n" .Values.ingress.apiVersion) -}}
{{- end -}}
{{- range $name, $half := dict "replicaCount" .Values "external.replicaCount" .Values.external -}}
{{- if and (gt (int $half.replicaCount) 1) (not (include "selkie.leaderElect" (dict "context" $ "values" $half))) -}}
{{- fail (printf "\n\n%s is %d without leader election: every replica would write. Set leaderElect, and grant get, create and update on leases where rbac.create is false.\n" $name (int $half.replicaCount)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
