package main

// Flags of the two clients: they may stand before, between and after the arguments.

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
)

// headerFlag collects --header N=V. The names are kept as they were written.
type headerFlag http.Header

func (h headerFlag) String() string { return "" }

func (h headerFlag) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || strings.ContainsAny(text, "\r\n") {
		return errors.New("a header is NAME=VALUE")
	}
	h[name] = append(h[name], value)
	return nil
}

// host takes the Host header out: it is not one of the others to Go.
func (h headerFlag) host(otherwise string) string {
	for name, values := range h {
		if strings.EqualFold(name, "host") {
			delete(h, name)
			return values[0]
		}
	}
	return otherwise
}

// parseArgs returns what is not a flag. The count of it must lie between least and most.
func parseArgs(flags *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var rest []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	if len(rest) < least || len(rest) > most {
		return nil, fmt.Errorf("%d arguments are too few or too many", len(rest))
	}
	return rest, nil
}
