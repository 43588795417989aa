// Command image writes an OCI image archive around one static binary, or of a directory. It
// needs nothing of Kubernetes, so that images can be built where no cluster is.
package main

import (
	"flag"
	"fmt"
	"os"

	"bridge/tests/cluster/image"
)

func main() {
	var i image.Image
	out := flag.String("o", "image.tar", "the archive to write")
	flag.StringVar(&i.User, "user", "65532:65532", "the image's user, UID:GID")
	flag.StringVar(&i.Root, "root", "", "a directory that is the image's root, with BINARY in it (default: BINARY alone)")
	flag.Func("name", "the image's full reference, such as docker.io/test/echo:1 (repeatable)", func(s string) error {
		i.Names = append(i.Names, s)
		return nil
	})
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: image-of [-o FILE] [-user UID:GID] [-root DIR] -name REF [-name REF]... BINARY [ARG...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 || len(i.Names) == 0 {
		flag.Usage()
		os.Exit(2)
	}
	i.Binary, i.Args = flag.Arg(0), flag.Args()[1:]
	if err := image.Build(*out, i); err != nil {
		fmt.Fprintln(os.Stderr, "image-of:", err)
		os.Exit(1)
	}
}
