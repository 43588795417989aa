package main

// client -: many requests of one process, for callers that cannot afford many starts. What
// `shop client` takes comes as a JSON array, one a line; each is answered by a line of
// JSON when it is done, in any order, as they run beside each other.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

const (
	linesAtOnce = 32
	longestLine = 1 << 20
	mostOutput  = 1 << 20
)

// lineAnswer is how the request of a line has ended.
type lineAnswer struct {
	Line   int    `json:"line"` // counted from 1
	Code   int    `json:"code"` // what would have been the exit code
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// answerLines returns when in has ended and all requests are answered.
func answerLines(in io.Reader, out io.Writer) error {
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		encoder = json.NewEncoder(out)
		places  = make(chan struct{}, linesAtOnce)
	)
	defer running.Wait()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	for number := 1; lines.Scan(); number++ {
		line := bytes.Clone(lines.Bytes())
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			answer := answerLine(line)
			answer.Line = number
			mu.Lock()
			defer mu.Unlock()
			_ = encoder.Encode(answer) // nobody listens any more: in ends, too
		})
	}
	return lines.Err()
}

func answerLine(line []byte) lineAnswer {
	var args []string
	if err := json.Unmarshal(line, &args); err != nil {
		return lineAnswer{Code: 2, Stderr: fmt.Sprintf("not a JSON array of strings: %v\n", err)}
	}
	var said limited
	if err := oneRequest(args, &said); err != nil {
		return lineAnswer{Code: 1, Stdout: said.kept.String(), Stderr: fmt.Sprintf("shop client: %v\n", err)}
	}
	return lineAnswer{Stdout: said.kept.String()}
}

// limited keeps what is written, up to a limit.
type limited struct{ kept bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.kept.Len()+len(b) > mostOutput {
		return 0, errors.New("too long an answer for `shop client -`: ask for its --sha")
	}
	return l.kept.Write(b)
}
