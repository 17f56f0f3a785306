package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"causeway/e2e/lab"
)

// TestDocumentsRun runs the shell examples of the documents against a daemon, in order, and compares
// their output with what the document shows: JSON is a part of the answer, with … for any text, and
// text is a list of what the output holds.
func TestDocumentsRun(t *testing.T) {
	for _, document := range []string{"../README.md", "../docs/api.md", "../docs/kinesis.md", "../docs/diagnostics.md"} {
		t.Run(filepath.Base(document), func(t *testing.T) {
			text, err := os.ReadFile(document)
			if err != nil {
				t.Fatal(err)
			}
			blocks := examples(string(text))
			if len(blocks) == 0 {
				t.Fatal("no examples found")
			}
			w := newWorld(t, settings{})
			outputs := w.runExamples(blocks)
			for i, b := range blocks {
				if err := b.compare(outputs[i]); err != nil {
					t.Errorf("%s\n%v\noutput:\n%s", b.script, err, outputs[i])
				}
			}
		})
	}
}

// example is a shell block with the block after it that shows its output, if there is one.
type example struct{ script, kind, shown string }

var exampleBlock = regexp.MustCompile("(?s)```sh\n(.*?)```\n(?:```(json|text)\n(.*?)```)?")

// examples finds the blocks that call the API.
func examples(document string) []example {
	var list []example
	for _, m := range exampleBlock.FindAllStringSubmatch(document, -1) {
		if !strings.Contains(m[1], "make ") {
			list = append(list, example{script: m[1], kind: m[2], shown: m[3]})
		}
	}
	return list
}

const exampleMark = "@@@ end of example"

// runExamples runs all blocks in one shell and returns the output of each.
func (w *world) runExamples(blocks []example) []string {
	w.t.Helper()
	var script strings.Builder
	fmt.Fprintf(&script, "set -eo pipefail; exec 2>&1; cd %s; export SOCKET=%s PATH=%s:$PATH\n", w.Dir(), w.socket, w.grpcurlDir())
	for _, b := range blocks {
		fmt.Fprintf(&script, "%s\necho '%s'\n", b.script, exampleMark)
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	out, err := w.gateway.OutputStdin(ctx, script.String(), "bash", "-s")
	outputs := strings.Split(out, exampleMark+"\n")
	if err != nil || len(outputs) != len(blocks)+1 {
		w.t.Fatalf("the examples ended early: %v\n%s", err, out)
	}
	return outputs
}

// grpcurlDir is a directory in which the pinned grpcurl has its own name.
func (w *world) grpcurlDir() string {
	dir := filepath.Join(w.Dir(), "bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	program, err := lab.GrpcurlProgram()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, "grpcurl")); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

func (b example) compare(output string) error {
	switch b.kind {
	case "json":
		var shown, got any
		if err := json.Unmarshal([]byte(b.shown), &shown); err != nil {
			return fmt.Errorf("the shown JSON does not parse: %w", err)
		}
		if err := json.Unmarshal([]byte(output), &got); err != nil {
			return fmt.Errorf("the output does not parse: %w", err)
		}
		return holds(got, shown, "answer")
	case "text":
		for line := range strings.Lines(b.shown) {
			if !strings.Contains(output, strings.TrimSpace(line)) {
				return fmt.Errorf("the output does not hold %q", line)
			}
		}
	}
	return nil
}

// holds tells whether got has everything shown has.
func holds(got, shown any, path string) error {
	switch shown := shown.(type) {
	case map[string]any:
		object, _ := got.(map[string]any)
		for key, want := range shown {
			if err := holds(object[key], want, path+"."+key); err != nil {
				return err
			}
		}
		return nil
	case []any:
		list, _ := got.([]any)
		if len(list) != len(shown) {
			return fmt.Errorf("%s has %d elements, %d are shown", path, len(list), len(shown))
		}
		for i, want := range shown {
			if err := holds(list[i], want, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case string:
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(shown), "…", ".*") + "$"
		if text, ok := got.(string); ok && regexp.MustCompile(pattern).MatchString(text) {
			return nil
		}
	default:
		if got == shown {
			return nil
		}
	}
	return fmt.Errorf("%s is %v, %v is shown", path, got, shown)
}
