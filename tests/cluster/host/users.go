package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bridge/tests/cluster/plan"
)

// user is who runs a command in the laptop. Each has a home and a runtime directory
// below the cluster's, the same at every call, so that a daemon which one call starts
// is found by the next, and nothing is written to the caller's own home.
type user struct {
	uid int
	dir string
}

func (u user) home() string    { return filepath.Join(u.dir, "home") }
func (u user) runtime() string { return filepath.Join(u.dir, "run") }

// newUser makes the directories if they are not there.
func newUser(c plan.Cluster, uid int) (user, error) {
	u := user{uid, c.Path("users", fmt.Sprint(uid))}
	if err := os.MkdirAll(u.dir, 0o755); err != nil {
		return u, err
	}
	for _, d := range []string{u.home(), u.runtime()} {
		if err := os.Mkdir(d, 0o700); err != nil && !os.IsExist(err) {
			return u, err
		}
		if err := os.Chown(d, uid, uid); err != nil {
			return u, err
		}
	}
	return u, nil
}

// kubeconfig is the user's own copy of one of the cluster's. It appears in one step:
// several calls may come at the same time.
func (u user) kubeconfig(c plan.Cluster, who string) (string, error) {
	file := filepath.Join(u.dir, who+".kubeconfig")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	b, err := os.ReadFile(c.Path(who + ".kubeconfig"))
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(u.dir, who) // 0600
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return "", err
	}
	if err := f.Chown(u.uid, u.uid); err != nil {
		return "", err
	}
	return file, os.Rename(f.Name(), file)
}

// environment is the caller's, but for what would lead to the caller's own home, and
// with this module's kubectl first in PATH.
func (u user) environment(c plan.Cluster, caller []string, kubeconfig string) []string {
	replaced := map[string]bool{"HOME": true, "KUBECONFIG": true, "XDG_RUNTIME_DIR": true,
		"XDG_CONFIG_HOME": true, "XDG_CACHE_HOME": true, "XDG_DATA_HOME": true, "XDG_STATE_HOME": true, "PATH": true}
	path := "/usr/local/bin:/usr/bin:/bin"
	var env []string
	for _, e := range caller {
		name, value, _ := strings.Cut(e, "=")
		if name == "PATH" {
			path = value
		}
		if !replaced[name] {
			env = append(env, e)
		}
	}
	return append(env, "HOME="+u.home(), "XDG_RUNTIME_DIR="+u.runtime(), "KUBECONFIG="+kubeconfig,
		"PATH="+c.Path("path")+":"+strings.TrimPrefix(path, c.Path("path")+":"))
}
