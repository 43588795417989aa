// Checks that an agent in front of an HTTP/2 server breaks no rule that the server alone keeps: h2spec AGENT runs
// h2spec's cases against Go's net/http, then against an agent in front of it, and fails if the agent fails one more.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

const answer = "An answer that is long enough to be cut into several frames by a small window."

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "h2spec AGENT: the agent program is missing")
		os.Exit(2)
	}
	if err := compare(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "h2spec:", err)
		os.Exit(1)
	}
}

func compare(program string) error {
	origin, err := startOrigin()
	if err != nil {
		return fmt.Errorf("starting the origin: %w", err)
	}
	agent, stop, err := startAgent(program, origin)
	if err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	defer stop()
	alone, err := run("origin alone", origin)
	if err != nil {
		return err
	}
	behind, err := run("behind the agent", agent)
	if err != nil {
		return err
	}
	more := 0
	for name, why := range behind {
		if _, too := alone[name]; !too {
			more++
			fmt.Printf("fails only behind the agent: %s\n%s\n", name, why)
		}
	}
	if more > 0 {
		return fmt.Errorf("%d cases fail only behind the agent", more)
	}
	return nil
}

func startOrigin() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP1(true)
	// h2spec breaks rules on purpose: what the origin says about it is no news.
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{Protocols: &protocols, ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, answer)
	})}
	go server.Serve(listener)
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// startAgent returns the port of an agent in front of the origin, and what ends it.
func startAgent(program string, origin int) (int, func(), error) {
	agent := exec.Command(program, "--control", "0", "--readiness", "0", "--key-file", "/nonexistent",
		"--log-format", "json", "--forward", fmt.Sprintf("0=127.0.0.1:%d", origin))
	stderr, err := agent.StderrPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := agent.Start(); err != nil {
		return 0, nil, err
	}
	stop := func() {
		agent.Process.Kill()
		agent.Wait()
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var line struct{ Ports string }
		var port int
		if json.Unmarshal(lines.Bytes(), &line) == nil {
			if _, err := fmt.Sscanf(line.Ports, "[%d]", &port); err == nil {
				// A full pipe would stop it.
				go io.Copy(io.Discard, stderr)
				return port, stop, nil
			}
		}
	}
	stop()
	return 0, nil, errors.New("it ended before it listened")
}

// run returns the cases that fail, and why.
func run(what string, port int) (map[string]string, error) {
	settings := &config.Config{Host: "127.0.0.1", Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000}
	groups := []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()}
	began := time.Now()
	passed, failed := 0, map[string]string{}
	err := silently(func() {
		for _, group := range groups {
			group.Test(settings)
			passed += group.PassedCount
			collect(group, failed)
		}
	})
	fmt.Printf("%-18s %d passed, %d failed (%.0f s)\n", what, passed, len(failed), time.Since(began).Seconds())
	if passed == 0 {
		err = errors.Join(err, fmt.Errorf("%s: no case passed", what))
	}
	return failed, err
}

func collect(group *spec.TestGroup, failed map[string]string) {
	for i, test := range group.Tests {
		if test.Result != nil && test.Result.Failed {
			failed[fmt.Sprintf("%s/%d %s", group.ID(), i+1, test.Desc)] = indented(fmt.Sprint(test.Result.Error))
		}
	}
	for _, inner := range group.Groups {
		collect(inner, failed)
	}
}

func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// silently keeps what h2spec itself prints from standard output.
func silently(do func()) error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	stdout := os.Stdout
	os.Stdout = null
	defer func() { os.Stdout = stdout }()
	do()
	return nil
}
