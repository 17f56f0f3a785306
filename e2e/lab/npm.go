package lab

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// npmFiles are the files of a Node.js program of this repository; all of it that is not installed.
var npmFiles = []string{"package.json", "package-lock.json", "server.js"}

// npmInstall installs a Node.js program of the directory dir, relative to the root of this module, with the
// versions of its lock file, and returns where it is: a directory of the user's cache, named after what it
// holds, so that later runs find it there. Scripts of packages are not run and optional packages left out.
func npmInstall(dir string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	files, sum := make(map[string][]byte), sha256.New()
	for _, name := range npmFiles {
		if files[name], err = os.ReadFile(filepath.Join(root, dir, name)); err != nil {
			return "", fmt.Errorf("install %s: %w", dir, err)
		}
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", name, len(files[name]), files[name])
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("install %s: %w", dir, err)
	}
	cache = filepath.Join(cache, "causeway-lab")
	installed := filepath.Join(cache, fmt.Sprintf("%s-%x", filepath.Base(dir), sum.Sum(nil)[:8]))
	if _, err := os.Stat(installed); err == nil {
		return installed, nil
	}
	if err := npmInstallTo(installed, cache, files); err != nil {
		return "", fmt.Errorf("install %s: %w", dir, err)
	}
	return installed, nil
}

// npmInstallTo installs into a directory beside installed first: what is there under the final name is whole.
func npmInstallTo(installed, cache string, files map[string][]byte) error {
	npm, err := lookPath("npm")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	cmd := exec.Command(npm, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	if err := os.Rename(dir, installed); err != nil {
		// Another process may have been faster.
		if info, other := os.Stat(installed); other != nil || !info.Mode().IsDir() {
			return err
		}
	}
	return nil
}
