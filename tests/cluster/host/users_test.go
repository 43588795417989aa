package host

import (
	"slices"
	"testing"

	"bridge/tests/cluster/plan"
)

func TestEnvironment(t *testing.T) {
	c := plan.Cluster{Dir: "/d", Name: "n"}
	u := user{7, "/d/users/7"}
	want := []string{"A=1", "TERM=x=y", "HOME=/d/users/7/home", "XDG_RUNTIME_DIR=/d/users/7/run", "KUBECONFIG=/k", "PATH=/d/path:/bin"}
	got := u.environment(c, []string{"A=1", "HOME=/root", "PATH=/bin", "XDG_CONFIG_HOME=/root/.config", "TERM=x=y"}, "/k")
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if again := u.environment(c, got, "/k"); !slices.Equal(again, want) {
		t.Errorf("within itself: %q", again)
	}
}
