// Command collect writes the inputs of the differential suite as JSON: the string literals of
// go-yaml's own tests, the files of a corpus folder, hand-picked cases and generated ones.
//
//	collect GO_YAML_FOLDER CORPUS_FOLDER hand-picked.txt > inputs.json
//	collect -lines scalars.txt > inputs.json
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

func main() {
	var inputs []string
	if os.Args[1] == "-lines" {
		text, err := os.ReadFile(os.Args[2])
		check(err)
		for _, line := range strings.Split(string(text), "\n") {
			if line != "" {
				inputs = append(inputs, line)
			}
		}
		check(json.NewEncoder(os.Stdout).Encode(inputs))
		return
	}
	seen := map[string]bool{}
	add := func(text string) {
		if !seen[text] && utf8.ValidString(text) && len(text) < 20_000 {
			seen[text] = true
			inputs = append(inputs, text)
		}
	}
	for _, name := range []string{"decode_test.go", "node_test.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(os.Args[1], name), nil, 0)
		check(err)
		ast.Inspect(file, func(node ast.Node) bool {
			if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				check(err)
				if strings.ContainsAny(text, ":-[{#&*!|>'\"\n") {
					add(strings.TrimPrefix(strings.TrimPrefix(text, "[decode]"), "[encode]"))
				}
			}
			return true
		})
	}
	files, err := filepath.Glob(filepath.Join(os.Args[2], "*.yaml"))
	check(err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		check(err)
		add(string(text))
	}
	picked, err := os.ReadFile(os.Args[3])
	check(err)
	for _, line := range strings.Split(strings.TrimSpace(string(picked)), "\n") {
		text, err := strconv.Unquote(line)
		if err != nil {
			check(fmt.Errorf("%s: %w", line, err))
		}
		add(text)
	}
	random := rand.New(rand.NewSource(3))
	for i := 0; i < 250; i++ {
		text := generate(random)
		add(text)
		add(mutate(random, text))
	}
	check(json.NewEncoder(os.Stdout).Encode(inputs))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var values = []string{
	"a", "1", "", "~", "true", "'x y'", "\"q\\n\"", "[1, 2]", "{k: v, l: [m]}", "&a b", "*a",
	"!!str 5", "!t u", "plain text", "|\n%s  x\n%s  y", "|-\n%s  x\n\n%s   y\n", ">+ # h\n%s  x\n\n",
	"a\n%s  b", "[a, # c\n%s  b]", "{\n%s  a: b # c\n%s  }", "- x", "? y", "'it''s'", "- - z", "é ü",
	"[\n%s  # in\n%s  a\n%s  # out\n%s  ]", "1.5", "2001-01-01", "<<", "\"a\n%s  b\"",
}

var comments = []string{"# c", "#", "#x", "  # deeper", "# é", "# a\n# b", "# a\n\n# b"}

// generate writes a document of random lines: mostly well-formed, comments everywhere.
func generate(random *rand.Rand) string {
	var out strings.Builder
	lineEnd := "\n"
	if random.Intn(10) == 0 {
		lineEnd = "\r\n"
	}
	block(random, &out, 0, 0)
	if random.Intn(4) == 0 {
		out.WriteString([]string{"---\n", "...\n", "--- # c\n", "...\n---\n"}[random.Intn(4)])
		block(random, &out, 0, 0)
	}
	text := out.String()
	if random.Intn(5) == 0 {
		text = strings.TrimRight(text, "\n")
	}
	return strings.ReplaceAll(text, "\n", lineEnd)
}

func block(random *rand.Rand, out *strings.Builder, indent, depth int) {
	margin := strings.Repeat(" ", indent)
	sequence := random.Intn(3) == 0
	for i := 0; i <= random.Intn(4); i++ {
		for random.Intn(3) == 0 {
			shift := strings.Repeat(" ", random.Intn(3)*random.Intn(2))
			comment := comments[random.Intn(len(comments))]
			out.WriteString(margin + shift + strings.ReplaceAll(comment, "\n", "\n"+margin+shift) + "\n")
			if random.Intn(4) == 0 {
				out.WriteString("\n")
			}
		}
		if random.Intn(6) == 0 {
			out.WriteString("\n")
		}
		head := margin + string(rune('a'+i)) + ":"
		if sequence {
			head = margin + "-"
		}
		out.WriteString(head)
		if depth < 3 && random.Intn(3) == 0 {
			if random.Intn(3) == 0 {
				out.WriteString(" # k")
			}
			out.WriteString("\n")
			block(random, out, indent+random.Intn(3)+boolean(!sequence || random.Intn(2) == 0), depth+1)
			continue
		}
		value := strings.ReplaceAll(values[random.Intn(len(values))], "%s", margin)
		out.WriteString(" " + value)
		if random.Intn(4) == 0 {
			out.WriteString(" # v")
		}
		out.WriteString("\n")
	}
	if random.Intn(4) == 0 {
		out.WriteString(margin + comments[random.Intn(len(comments))] + "\n")
	}
}

func boolean(value bool) int {
	if value {
		return 1
	}
	return 0
}

const pieces = " \t\n-:?,[]{}#&*!|>'\"%@`a1\\é\u2028\u0085\r"

// mutate changes, takes out or puts in a few characters.
func mutate(random *rand.Rand, text string) string {
	chars := []rune(text)
	letters := []rune(pieces)
	for i := 0; i <= random.Intn(4) && len(chars) > 0; i++ {
		at := random.Intn(len(chars))
		letter := letters[random.Intn(len(letters))]
		switch random.Intn(3) {
		case 0:
			chars[at] = letter
		case 1:
			chars = append(chars[:at], chars[at+1:]...)
		default:
			chars = append(chars[:at], append([]rune{letter}, chars[at:]...)...)
		}
	}
	return string(chars)
}
