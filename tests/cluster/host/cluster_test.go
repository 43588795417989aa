package host

import (
	"strings"
	"testing"

	"bridge/tests/cluster/plan"
)

func TestOnlyItsOwnNodeIsTheNode(t *testing.T) {
	c, err := plan.New("/var/lib/a", "a")
	if err != nil {
		t.Fatal(err)
	}
	for cmdline, want := range map[string]bool{
		"/x/bin/cluster node-init /var/lib/a a":  true,
		"/x/bin/cluster node-init /var/lib/ab a": false,
		"/x/bin/cluster node-init /var/lib/a ab": false,
		"/x/bin/cluster up":                      false,
		"grep node-init /var/lib/a a":            false,
		"":                                       false,
	} {
		if got := isNodeCommand(c, []byte(strings.ReplaceAll(cmdline, " ", "\x00")+"\x00")); got != want {
			t.Errorf("%q: %v", cmdline, got)
		}
	}
}
