// The CRDs of the Prometheus operator, of which our chart has objects.
module selkie.test/bed/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
