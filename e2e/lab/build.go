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

// Program returns the path of a program that the module pins as a tool dependency, such as
// golang.zx2c4.com/wireguard. The go command builds it at most once and keeps it in its cache.
func (l *Lab) Program(pkg string) string {
	l.report.Helper()
	path, err := toolPath(".", pkg)
	if err != nil {
		l.report.Fatalf("%v", err)
	}
	return path
}

// Build compiles a main package of the module into the lab's directory and returns the path of the
// program. flags are those of "go build", such as -race.
func (l *Lab) Build(pkg string, flags ...string) string {
	l.report.Helper()
	program := filepath.Join(l.dir, filepath.Base(pkg))
	args := append([]string{"build", "-o", program}, flags...)
	if _, err := goCommand(".", append(args, pkg)...); err != nil {
		l.report.Fatalf("build %s: %v", pkg, err)
	}
	return program
}

// toolPath builds the tool pkg of the module in dir, relative to the root of this module.
func toolPath(dir, pkg string) (string, error) {
	out, err := goCommand(dir, "tool", "-n", pkg)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	return out, nil
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
