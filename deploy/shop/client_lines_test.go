package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestLinesAreAnsweredBesideEachOther(t *testing.T) {
	// Given a server that answers the first request only when the second one has come
	second := make(chan struct{})
	addr := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			<-second
		} else {
			close(second)
		}
		fmt.Fprint(w, r.URL.Path)
	}))

	answers := answered(t, line("http", "http://"+addr+"/first"), line("http", "http://"+addr+"/second"))

	for number, want := range map[int]string{1: "/first", 2: "/second"} {
		if got := answers[number]; got.Code != 0 || got.Stdout != want {
			t.Errorf("line %d: %+v", number, got)
		}
	}
}

func TestALineThatFailsSaysWhy(t *testing.T) {
	endless := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, io.LimitReader(newPattern(1), 2*mostOutput))
	}))

	answers := answered(t, line("http", "http://"+nowhere(t)), line("dance"), "{}", line("http", "http://"+endless))

	for number, want := range map[int]struct {
		code int
		says string
	}{1: {1, "refused"}, 2: {1, "usage:"}, 3: {2, "not a JSON array"}, 4: {1, "--sha"}} {
		got := answers[number]
		if got.Code != want.code || !strings.Contains(got.Stderr, want.says) {
			t.Errorf("line %d: code %d, %s", number, got.Code, got.Stderr)
		}
	}
}

func line(args ...string) string {
	text, _ := json.Marshal(args)
	return string(text)
}

// answered is what `shop client -` says to these lines, by their number.
func answered(t *testing.T, lines ...string) map[int]lineAnswer {
	t.Helper()
	var out strings.Builder
	if err := answerLines(strings.NewReader(strings.Join(lines, "\n")), &out); err != nil {
		t.Fatal(err)
	}
	answers := map[int]lineAnswer{}
	for _, text := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var answer lineAnswer
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		answers[answer.Line] = answer
	}
	return answers
}
