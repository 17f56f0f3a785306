package policy

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page has every service with its names, every key, every operator, and examples that are policies.
func TestDocumentation(t *testing.T) {
	data, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(examples) < 5 || strings.TrimSpace(examples[0][1]) != Default {
		t.Errorf("%d examples, the first one %q", len(examples), examples[0][1])
	}
	for _, e := range examples {
		if _, err := Parse(e[1]); err != nil {
			t.Errorf("%s%v", e[1], err)
		}
	}
	names := strings.NewReplacer("{region}", "REGION", "{account}", "ACCOUNT", "{resource}", "RESOURCE")
	for _, s := range known {
		row := "| `" + s.word + "` | `" + names.Replace(strings.Join(s.names, "`, `")) + "` |\n"
		if !strings.Contains(page, row) {
			t.Errorf("no row %s", row)
		}
	}
	_, conditions, _ := strings.Cut(page, "## Conditions")
	conditions, _, _ = strings.Cut(conditions, "## Examples")
	told := map[string]bool{}
	for _, word := range regexp.MustCompile("`((?:aws:|vpce:)?[A-Za-z]+)`").FindAllStringSubmatch(conditions, -1) {
		told[word[1]] = true
	}
	for _, k := range keys {
		if !told[k.name] {
			t.Errorf("key %s is not there", k.name)
		}
	}
	for word := range told {
		if strings.Contains(word, ":") && keys[strings.ToLower(word)] == nil {
			t.Errorf("key %s does not exist", word)
		}
	}
	for _, word := range slices.Sorted(maps.Keys(operators)) {
		if !told[word] {
			t.Errorf("operator %s is not there", word)
		}
	}
}
