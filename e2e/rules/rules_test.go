// Package rules tests what every part of the repository keeps: the directions of imports, the
// floors of its dependencies, and documentation.
package rules

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

const root = "../.."

// floors are the oldest versions of dependencies whose known faults do not reach us.
var floors = map[string]struct{ version, why string }{
	"google.golang.org/grpc":                          {"v1.82.1", "authorisation bypass by path and rapid reset are fixed there"},
	"go.etcd.io/etcd/server/v3":                       {"v3.7.1", "RBAC bypasses are fixed there"},
	"gvisor.dev/gvisor":                               {"v0.0.0-20260901000000-000000000000", "panics on forwarded ICMP errors are fixed there, and RACK measures at ingress"},
	"golang.zx2c4.com/wireguard":                      {"v0.0.0-20260522000000-000000000000", "virtio headers are cleared there"},
	"go.etcd.io/etcd/client/v3":                       {"v3.7.1", "goes with the server"},
	"google.golang.org/protobuf":                      {"v1.36.0", "generated code needs it"},
	"golang.zx2c4.com/wireguard/wgctrl":               {"v0.0.0-20241231000000-000000000000", "reads userspace sockets"},
	"github.com/grpc-ecosystem/go-grpc-middleware/v2": {"v2.3.4", "version 1 is dead"},
}

func TestDependencyFloors(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, r := range mod.Require {
		have[r.Mod.Path] = r.Mod.Version
	}
	for path, floor := range floors {
		if semver.Compare(have[path], floor.version) < 0 {
			t.Errorf("%s is %q, needs %s: %s", path, have[path], floor.version, floor.why)
		}
	}
}

// forbidden lists imports, direct or not, that a part of the tree must do without.
var forbidden = []struct{ from, to, why string }{
	{"causeway/controlplane", "gvisor.dev/gvisor", "the control plane builds without gVisor"},
	{"causeway/controlplane", "golang.zx2c4.com/wireguard", "the control plane builds without WireGuard"},
	{"causeway/controlplane", "causeway/tunnel", "the control plane knows gateway/spec and gateway/policy only"},
	{"causeway/controlplane", "causeway/cmd", "imports go downwards only"},
	{"causeway/gateway", "google.golang.org/grpc", "the data plane builds without gRPC"},
	{"causeway/gateway", "go.etcd.io/etcd", "the data plane builds without etcd"},
	{"causeway/gateway", "causeway/controlplane", "imports go downwards only"},
	{"causeway/gateway", "causeway/proto", "the data plane knows gateway/spec only"},
	{"causeway/tunnel", "causeway/gateway", "imports go downwards only"},
	{"causeway/tunnel", "causeway/controlplane", "imports go downwards only"},
	{"causeway/tunnel", "causeway/proto", "imports go downwards only"},
	{"causeway/tunnel", "google.golang.org/grpc", "the data plane builds without gRPC"},
	{"causeway/gateway/endpoint", "causeway/gateway/domain", "only gateway/domain configures gVisor; endpoint is handed what it made"},
	{"causeway/cmd", "golang.zx2c4.com/wireguard/tun/netstack", "batch 1, drops and races: tunnel/link replaces it"},
	{"causeway/gateway", "golang.zx2c4.com/wireguard/tun/netstack", "batch 1, drops and races: tunnel/link replaces it"},
}

// standardOnly are the packages that import nothing but the standard library. filter also compiles the rules of a spec.
var standardOnly = []string{"causeway/gateway/filter", "causeway/gateway/clienthello", "causeway/gateway/policy", "causeway/gateway/shape", "causeway/gateway/spec", "causeway/gateway/proxyproto"}

// allowedBelow are the only packages of ours that the control plane may take from the data plane.
var allowedBelow = []string{"causeway/gateway/spec", "causeway/gateway/policy"}

type goPackage struct {
	ImportPath string
	Deps       []string
	Imports    []string
	Doc        string
	Dir        string
	Name       string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Deps,Imports,Doc,Dir,Name", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var list []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func within(path, tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") }

func TestImportDirections(t *testing.T) {
	for _, p := range packages(t) {
		for _, rule := range forbidden {
			if !within(p.ImportPath, rule.from) {
				continue
			}
			for _, dep := range p.Deps {
				if within(dep, rule.to) {
					t.Errorf("%s depends on %s: %s", p.ImportPath, dep, rule.why)
					break
				}
			}
		}
		if slices.Contains(standardOnly, p.ImportPath) {
			for _, dep := range p.Imports {
				if p.ImportPath == "causeway/gateway/filter" && dep == "causeway/gateway/spec" {
					continue
				}
				if strings.Contains(strings.Split(dep, "/")[0], ".") || within(dep, "causeway") {
					t.Errorf("%s imports %s: it uses the standard library only", p.ImportPath, dep)
				}
			}
		}
		if within(p.ImportPath, "causeway/controlplane") {
			for _, dep := range p.Deps {
				if within(dep, "causeway/gateway") && !slices.Contains(allowedBelow, dep) {
					t.Errorf("%s depends on %s: the control plane knows %v only", p.ImportPath, dep, allowedBelow)
				}
			}
		}
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && !within(p.ImportPath, "causeway/proto") && !within(p.ImportPath, "causeway/e2e") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// topLevel is what may stand at the root besides dot-files.
var topLevel = []string{"go.mod", "go.sum", "cmd", "gateway", "tunnel", "controlplane", "proto", "e2e", "Makefile",
	"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "bin"}

func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s has no place at the top level", e.Name())
		}
	}
}

// TestNoSleepInTests keeps tests waiting on conditions. In a synctest bubble a sleep only moves the
// bubble's clock.
func TestNoSleepInTests(t *testing.T) {
	walk(t, "_test.go", func(path string, text []byte) {
		if bytes.Contains(text, []byte("time.Sleep"+"(")) && !bytes.Contains(text, []byte(`"testing/synctest"`)) {
			t.Errorf("%s sleeps: wait on a condition with a deadline", path)
		}
	})
}

// TestFileSizes keeps files to a few screens.
func TestFileSizes(t *testing.T) {
	walk(t, ".go", func(path string, text []byte) {
		if lines := bytes.Count(text, []byte("\n")); lines > 600 && !strings.HasSuffix(path, ".pb.go") {
			t.Errorf("%s has %d lines: is it one idea?", path, lines)
		}
	})
}

func walk(t *testing.T, suffix string, visit func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, suffix) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(path, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
