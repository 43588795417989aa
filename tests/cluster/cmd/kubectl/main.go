// Command kubectl is upstream's kubectl. It is a program of its own, as it starts often: with the
// daemons linked in, a start takes twice as long.
package main

import (
	_ "k8s.io/client-go/plugin/pkg/client/auth" // exec and OIDC credentials
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
