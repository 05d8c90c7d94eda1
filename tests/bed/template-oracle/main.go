// Renders a list of cases with Go's own text/template and the functions that the controller of Sealed Secrets offers.
//
// Standard input is a JSON list of {"template", "data", "texts", "missing"}: data is decoded into an any, unless texts says that it is a
// map[string]string; missing is the option missingkey. Standard output is a list of {"output"} or {"parse"} or {"execute"}; text is in base64.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

type testCase struct {
	Template string          `json:"template"`
	Data     json.RawMessage `json:"data"`
	Texts    bool            `json:"texts"`
	Missing  string          `json:"missing"`
}

type outcome struct {
	Output  *[]byte `json:"output,omitempty"`
	Parse   string  `json:"parse,omitempty"`
	Execute string  `json:"execute,omitempty"`
}

func main() {
	// Should a case make too much, this program ends and not another one.
	limit := syscall.Rlimit{Cur: 4 << 30, Max: 4 << 30}
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	functions := sprig.GenericFuncMap()
	delete(functions, "env")
	delete(functions, "expandenv")
	delete(functions, "getHostByName")
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	outcomes := make([]outcome, 0, len(cases))
	for _, c := range cases {
		outcomes = append(outcomes, render(c, functions))
	}
	if err := json.NewEncoder(os.Stdout).Encode(outcomes); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func render(c testCase, functions template.FuncMap) outcome {
	t := template.New("case").Funcs(functions)
	if c.Missing != "" {
		t = t.Option("missingkey=" + c.Missing)
	}
	t, err := t.Parse(c.Template)
	if err != nil {
		return outcome{Parse: err.Error()}
	}
	var data any
	if c.Texts {
		texts := map[string]string{}
		if err := json.Unmarshal(c.Data, &texts); err != nil {
			return outcome{Parse: err.Error()}
		}
		data = texts
	} else if len(c.Data) > 0 {
		if err := json.Unmarshal(c.Data, &data); err != nil {
			return outcome{Parse: err.Error()}
		}
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return outcome{Execute: err.Error()}
	}
	output := out.Bytes()
	if output == nil {
		output = []byte{}
	}
	return outcome{Output: &output}
}
