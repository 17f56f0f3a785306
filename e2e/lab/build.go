package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// programs holds the paths of what this process has asked the go command for.
var programs struct {
	sync.Mutex
	paths map[string]string
}

// Program returns the path of a program that the module pins as a tool dependency, such as
// golang.zx2c4.com/wireguard. The go command builds it when needed and keeps it in its cache.
func (l *Lab) Program(pkg string) string {
	l.report.Helper()
	path, err := toolPath(".", pkg)
	if err != nil {
		l.report.Fatalf("%v", err)
	}
	return path
}

// toolPath is Program for the module in dir, relative to the root of this module.
func toolPath(dir, pkg string) (string, error) {
	return program(dir, "tool", "-n", pkg)
}

// Build compiles a main package of the module, such as ./cmd/causewayd, and returns the path of the
// program, which is in the go command's cache too. flags are those of "go build", such as -race.
func (l *Lab) Build(pkg string, flags ...string) string {
	l.report.Helper()
	return l.build(".", append(flags, pkg)...)
}

// BuildModule is Build for the program of a module of its own, whose go.mod is in the directory dir, relative to
// the root of this one.
func (l *Lab) BuildModule(dir string, flags ...string) string {
	l.report.Helper()
	return l.build(dir, append(flags, ".")...)
}

func (l *Lab) build(dir string, args ...string) string {
	l.report.Helper()
	// Of the commands that take a package of this module only "go run" caches what it links; with
	// -exec it tells where.
	path, err := program(dir, append([]string{"run", "-exec", "echo"}, args...)...)
	if err != nil {
		l.report.Fatalf("%v", err)
	}
	return path
}

// program runs a go command that prints the path of a program, once per process.
func program(dir string, args ...string) (string, error) {
	key := dir + " " + strings.Join(args, " ")
	programs.Lock()
	defer programs.Unlock()
	if path, ok := programs.paths[key]; ok {
		return path, nil
	}
	// A program linked just now is named where it was linked, a directory that is gone by now; its
	// copy in the cache is named when asked again.
	for range 2 {
		path, err := goCommand(dir, args...)
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(path); err == nil {
			if programs.paths == nil {
				programs.paths = make(map[string]string)
			}
			programs.paths[key] = path
			return path, nil
		}
	}
	return "", fmt.Errorf("go %s: the program is not in the build cache", strings.Join(args, " "))
}

// goCommand runs the go command in a directory relative to the module's root.
func goCommand(dir string, args ...string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	path, err := lookPath("go")
	if err != nil {
		return "", err
	}
	var out, problems bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Dir = filepath.Join(root, dir)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, problems.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// moduleRoot returns the directory of this module's go.mod, found upwards from the working
// directory: a test runs in its package's.
var moduleRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find module root: %w", err)
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(data, []byte("module causeway\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find module root: the working directory is not in module causeway")
		}
		dir = parent
	}
})
