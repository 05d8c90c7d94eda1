// Command yaml-oracle says what go-yaml v3 makes of YAML texts.
//
// It reads a JSON array of texts on standard input (each a JSON string) and writes a JSON array:
// for each text null where go-yaml refuses it, else the documents as a dump of lines. With
// -scalars, each text is a plain scalar and the answer is its tag and decoded value.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

type answer struct {
	Input string `json:"input"`
	// Accepted tells whether go-yaml takes the text.
	Accepted bool `json:"accepted"`
	// Dump has one line for each node.
	Dump []string `json:"dump,omitempty"`
}

func main() {
	var inputs []string
	if err := json.NewDecoder(os.Stdin).Decode(&inputs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scalars := len(os.Args) > 1 && os.Args[1] == "-scalars"
	answers := make([]answer, 0, len(inputs))
	for _, input := range inputs {
		if scalars {
			answers = append(answers, scalar(input))
		} else {
			answers = append(answers, stream(input))
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", " ")
	if err := out.Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func stream(input string) (result answer) {
	result.Input = input
	defer func() {
		if recover() != nil {
			result.Accepted = false
			result.Dump = nil
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(input))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			result.Dump = nil
			return result
		}
		dump(&result.Dump, &document, 0)
	}
	result.Accepted = true
	return result
}

func scalar(input string) answer {
	var node yaml.Node
	if err := yaml.Unmarshal([]byte("["+input+"]"), &node); err != nil {
		return answer{Input: input}
	}
	items := node.Content[0].Content
	if len(items) != 1 || items[0].Kind != yaml.ScalarNode {
		return answer{Input: input}
	}
	value, ok := decoded(items[0])
	if !ok {
		return answer{Input: input, Dump: []string{items[0].ShortTag(), "error"}}
	}
	return answer{Input: input, Accepted: true, Dump: []string{items[0].ShortTag(), value}}
}

func decoded(node *yaml.Node) (text string, ok bool) {
	var value interface{}
	if err := node.Decode(&value); err != nil {
		return "", false
	}
	switch value := value.(type) {
	case nil:
		return "null", true
	case string:
		return "string " + strconv.QuoteToASCII(value), true
	case time.Time:
		return "time " + value.Format(time.RFC3339Nano), true
	case float64:
		return fmt.Sprintf("float %016x", math.Float64bits(value)), true
	default:
		return fmt.Sprintf("%v", value), true
	}
}

var kinds = map[yaml.Kind]string{
	yaml.DocumentNode: "document",
	yaml.MappingNode:  "mapping",
	yaml.SequenceNode: "sequence",
	yaml.ScalarNode:   "scalar",
	yaml.AliasNode:    "alias",
}

func style(node *yaml.Node) string {
	switch {
	case node.Style&yaml.DoubleQuotedStyle != 0:
		return "double"
	case node.Style&yaml.SingleQuotedStyle != 0:
		return "single"
	case node.Style&yaml.LiteralStyle != 0:
		return "literal"
	case node.Style&yaml.FoldedStyle != 0:
		return "folded"
	case node.Style&yaml.FlowStyle != 0:
		return "flow"
	}
	return "-"
}

// comment drops blank lines: they separate groups and carry nothing.
func comment(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		if line != "" {
			lines = append(lines, line)
		}
	}
	quoted, _ := json.Marshal(lines)
	if lines == nil {
		return "[]"
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(lines) == nil {
		quoted = bytes.TrimSpace(out.Bytes())
	}
	return string(quoted)
}

func dump(lines *[]string, node *yaml.Node, depth int) {
	tag := ""
	value := ""
	if node.Kind != yaml.DocumentNode {
		tag = node.ShortTag()
	}
	if node.Kind == yaml.ScalarNode || node.Kind == yaml.AliasNode {
		value = strconv.QuoteToASCII(node.Value)
	}
	*lines = append(*lines, fmt.Sprintf("%d %s %s tag=%s anchor=%s value=%s at=%d:%d head=%s line=%s foot=%s",
		depth, kinds[node.Kind], style(node), tag, node.Anchor, value, node.Line, node.Column,
		comment(node.HeadComment), comment(node.LineComment), comment(node.FootComment)))
	for _, child := range node.Content {
		dump(lines, child, depth+1)
	}
}
