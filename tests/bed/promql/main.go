// Command promql reads a JSON array of PromQL expressions from standard input and writes a JSON array to standard
// output: for each expression the error of Prometheus' own parser, or the metrics that it names, each with the names of
// the labels that it matches, and the labels that it groups by.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type selector struct {
	Metric string   `json:"metric"`
	Labels []string `json:"labels"`
	// The labels that have to have one value.
	Equal map[string]string `json:"equal"`
}

type answer struct {
	Error     string     `json:"error,omitempty"`
	Selectors []selector `json:"selectors"`
	// Labels that an aggregation groups by.
	Groups []string `json:"groups"`
}

func main() {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
	answers := make([]answer, 0, len(expressions))
	for _, expression := range expressions {
		answers = append(answers, read(expression))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func read(expression string) answer {
	result := answer{Selectors: []selector{}, Groups: []string{}}
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.AggregateExpr:
			result.Groups = append(result.Groups, node.Grouping...)
		case *parser.VectorSelector:
			found := selector{Metric: node.Name, Labels: []string{}, Equal: map[string]string{}}
			for _, matcher := range node.LabelMatchers {
				if matcher.Name == labels.MetricName {
					found.Metric = matcher.Value
				} else {
					found.Labels = append(found.Labels, matcher.Name)
				}
			}
			slices.Sort(found.Labels)
			result.Selectors = append(result.Selectors, found)
		}
		return nil
	})
	return result
}
