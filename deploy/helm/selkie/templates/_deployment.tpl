{{/*
The Deployment of one half. Arguments: context, external, name, account, command (the default one), args (YAML), values (what
the halves have each: replicaCount, command, args, resources, podLabels, ...), env (a map).
*/}}
{{- define "selkie.deployment" -}}
{{- $ := .context -}}
{{- $half := .values -}}
apiVersion: apps/v1
kind: Deployment
metadata: {{- include "selkie.metadata" (dict "context" $ "external" .external "name" .name "namespace" (include "selkie.namespace" $)) | nindent 2 }}
spec:
  replicas: {{ $half.replicaCount }}
  {{- if regexMatch "^[0-9]+$" (toString $.Values.revisionHistoryLimit) }}
  revisionHistoryLimit: {{ $.Values.revisionHistoryLimit }}
  {{- end }}
  selector:
    matchLabels: {{- include "selkie.matchLabels" . | nindent 6 }}
  template:
    metadata:
      {{- with $half.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
      labels: {{- merge (include "selkie.matchLabels" . | fromYaml) (default dict $half.podLabels) | toYaml | nindent 8 }}
    spec:
      {{- with $.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- with $half.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $half.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $half.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $half.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- with $.Values.runtimeClassName }}
      runtimeClassName: {{ . | quote }}
      {{- end }}
      {{- if $.Values.podSecurityContext.enabled }}
      securityContext: {{- omit $.Values.podSecurityContext "enabled" | toYaml | nindent 8 }}
      {{- end }}
      serviceAccountName: {{ .account }}
      {{- if $half.hostNetwork }}
      hostNetwork: true
      {{- end }}
      {{- with $.Values.dnsPolicy }}
      dnsPolicy: {{ . }}
      {{- end }}
      containers:
        - name: controller
          image: {{ include "selkie.image" $ }}
          imagePullPolicy: {{ $.Values.image.pullPolicy }}
          command: {{- include "selkie.render" (dict "value" (default .command $half.command) "context" $) | nindent 12 }}
          {{- if $half.args }}
          args: {{- include "selkie.render" (dict "value" $half.args "context" $) | nindent 12 }}
          {{- else }}
          args: {{- .args | nindent 12 }}
          {{- end }}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: POD_NAMESPACE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.namespace
            {{- range $name, $value := default dict .env }}
            - name: {{ $name }}
              value: {{ $value | quote }}
            {{- end }}
          ports:
            - name: http
              containerPort: {{ $.Values.containerPorts.http | default 8080 }}
              protocol: TCP
              {{- if $half.hostNetwork }}
              hostPort: {{ $.Values.containerPorts.http | default 8080 }}
              {{- else if ($half.hostPorts).http }}
              hostPort: {{ $half.hostPorts.http }}
              {{- end }}
            - name: metrics
              containerPort: {{ $.Values.containerPorts.metrics | default 8081 }}
              protocol: TCP
              {{- if $half.hostNetwork }}
              hostPort: {{ $.Values.containerPorts.metrics | default 8081 }}
              {{- else if ($half.hostPorts).metrics }}
              hostPort: {{ $half.hostPorts.metrics }}
              {{- end }}
          {{- $live := dict "httpGet" (dict "path" "/healthz" "port" "http") }}
          {{- $ready := dict "httpGet" (dict "path" "/readyz" "port" "http") }}
          {{- $started := dict "tcpSocket" (dict "port" "http") }}
          {{- $probes := list
            (dict "context" $ "name" "startupProbe" "usual" $.Values.startupProbe "custom" $.Values.customStartupProbe "action" $started)
            (dict "context" $ "name" "livenessProbe" "usual" $.Values.livenessProbe "custom" $.Values.customLivenessProbe "action" $live)
            (dict "context" $ "name" "readinessProbe" "usual" $.Values.readinessProbe "custom" $.Values.customReadinessProbe "action" $ready) }}
          {{- range $probes }}
          {{- with include "selkie.probe" . }}
          {{- . | nindent 10 }}
          {{- end }}
          {{- end }}
          {{- with $half.resources }}
          resources: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- if $.Values.containerSecurityContext.enabled }}
          securityContext: {{- omit $.Values.containerSecurityContext "enabled" | toYaml | nindent 12 }}
          {{- end }}
          {{- with $half.additionalVolumeMounts }}
          volumeMounts: {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with $half.additionalVolumes }}
      volumes: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{/* A probe, or nothing. */}}
{{- define "selkie.probe" -}}
{{- if .usual.enabled -}}
{{ .name }}: {{- include "selkie.render" (dict "value" (merge (omit .usual "enabled") .action) "context" .context) | nindent 2 }}
{{- else if .custom -}}
{{ .name }}: {{- include "selkie.render" (dict "value" .custom "context" .context) | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "selkie.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- with $image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if $image.digest }}{{ printf "%s@%s" $name $image.digest }}{{ else }}{{ printf "%s:%s" $name (default .Chart.AppVersion $image.tag | toString) }}{{ end -}}
{{- end -}}

{{/* Arguments that both halves have. Arguments: context, values. */}}
{{- define "selkie.commonArgs" -}}
{{- $ := .context -}}
{{- if not (include "selkie.leaderElect" .) }}
- --leader-elect=false
{{- end }}
{{- with $.Values.additionalNamespaces }}
- --additional-namespaces={{ tpl (join "," .) $ }}
{{- else }}
{{- if $.Values.rbac.namespacedRoles }}
- --all-namespaces=false
{{- end }}
{{- end }}
{{- with .values.logLevel }}
- --log-level={{ . }}
{{- end }}
{{- with .values.logFormat }}
- --log-format={{ . }}
{{- end }}
- --listen-addr=:{{ $.Values.containerPorts.http | default 8080 }}
- --listen-metrics-addr=:{{ $.Values.containerPorts.metrics | default 8081 }}
{{- range .values.extraArgs }}
- {{ tpl . $ | quote }}
{{- end }}
{{- end -}}
