package main

// Who answers, and where the services find each other: all from the environment.

import (
	"os"
	"strings"
)

const answeredByHeader = "x-answered-by"

// myName is what this process puts into its answers.
func myName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return nameFrom(os.Getenv, host)
}

// nameFrom decides between the pod's name and the laptop's. A process that runs on a
// laptop with a pod's environment has POD_NAME too; only inside the pod is it (up to
// the 63 characters of a host name) also the name of the host.
func nameFrom(getenv func(string) string, host string) string {
	if name := getenv("SHOP_NAME"); name != "" {
		return name
	}
	if pod := getenv("POD_NAME"); pod != "" && host != "" && strings.HasPrefix(pod, host) {
		return pod
	}
	return "laptop:" + host
}

func envOr(key, otherwise string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return otherwise
}
