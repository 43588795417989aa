package plan

import (
	"testing"
	"time"
)

func TestNew(t *testing.T) {
	for _, c := range []struct {
		dir, name, want string
	}{
		{"/var/lib/bridge-test-cluster", "", "bridge-test-cluster"},
		{"/srv/a", "b", "b"},
		{"/", "b", ""},
		{"srv", "b", ""},
		{"/srv/../etc", "b", ""},
		{"/srv/a", "user.slice", ""},
		{"/srv/a", "../a", ""},
	} {
		got, err := New(c.dir, c.name)
		if (err == nil) != (c.want != "") || got.Name != c.want {
			t.Errorf("New(%q, %q) = %v, %v; want name %q", c.dir, c.name, got, err, c.want)
		}
	}
}

func TestProxySync(t *testing.T) {
	for s, want := range map[string]time.Duration{"": DefaultProxySync, "1s": time.Second, "0s": 0, "2m": 0, "soon": 0} {
		got, err := ProxySync(s)
		if (err == nil) != (want != 0) || got != want {
			t.Errorf("ProxySync(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
}
