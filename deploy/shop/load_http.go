package main

// The HTTP/1 caller of load. It is written by hand over the socket, because Go's client
// would send a request again when a kept connection turns out to be closed.

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	maxAnswer = 64 << 20 // of one body
	seenBody  = 64 << 10 // as much of it as --expect looks at
)

// httpRequest is what does not change from one request to the next.
type httpRequest struct {
	addr    string
	head    []byte
	keep    bool
	timeout time.Duration
}

func newHTTPRequest(plan *loadPlan) (*httpRequest, error) {
	u, err := url.Parse(plan.url)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("not an http:// URL: %s", plan.url)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	r := &httpRequest{addr: net.JoinHostPort(u.Hostname(), port), keep: plan.mode == "keepalive", timeout: plan.timeout}
	var head bytes.Buffer
	fmt.Fprintf(&head, "GET %s HTTP/1.1\r\nHost: %s\r\n", u.RequestURI(), plan.header.host(u.Host))
	for name, values := range plan.header {
		for _, v := range values {
			fmt.Fprintf(&head, "%s: %s\r\n", name, v)
		}
	}
	if !r.keep {
		head.WriteString("Connection: close\r\n")
	}
	head.WriteString("\r\n")
	r.head = head.Bytes()
	return r, nil
}

type httpCaller struct {
	httpRequest
	conn net.Conn
	in   *bufio.Reader
	made int // requests on this connection
}

func (c *httpCaller) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *httpCaller) call() (answer, error) {
	deadline := time.Now().Add(c.timeout)
	if c.conn == nil {
		conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", c.addr)
		if err != nil {
			return answer{}, err
		}
		c.conn, c.in, c.made = conn, bufio.NewReader(conn), 0
	}
	c.made++
	got, last, err := c.exchange(deadline)
	if err != nil || last {
		c.close()
	}
	if err != nil && c.made > 1 {
		err = fmt.Errorf("%w (request %d on its connection)", err, c.made)
	}
	return got, err
}

// exchange returns true when there may be no more requests on this connection.
func (c *httpCaller) exchange(deadline time.Time) (answer, bool, error) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return answer{}, true, err
	}
	if _, err := c.conn.Write(c.head); err != nil {
		return answer{}, true, fmt.Errorf("sending: %w", err)
	}
	resp, err := readFinal(c.in)
	if err != nil {
		return answer{}, true, fmt.Errorf("waiting for an answer: %w", err)
	}
	got := answer{by: resp.Header.Get(answeredByHeader)}
	var rest int64
	if got.body, err = io.ReadAll(io.LimitReader(resp.Body, seenBody)); err == nil {
		rest, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	}
	switch {
	case err != nil:
		err = fmt.Errorf("reading the body of %s: %w", resp.Status, err)
	case rest == maxAnswer:
		err = errors.New("a body without an end")
	case resp.StatusCode >= 400:
		err = fmt.Errorf("%s: %.200q", resp.Status, got.body)
	case resp.Close:
		err = c.ended()
	case !c.keep:
		err = errors.New("asked to close, the answer does not say that it will")
	case c.in.Buffered() > 0:
		err = fmt.Errorf("%d bytes after the answer", c.in.Buffered())
	}
	return got, resp.Close, err
}

// readFinal skips interim answers.
func readFinal(in *bufio.Reader) (*http.Response, error) {
	for range 10 {
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode >= 200 {
			return resp, err
		}
	}
	return nil, errors.New("interim answers without an end")
}

// ended waits until the server has closed, as it said it would: so the server, not this
// side, keeps the port in TIME_WAIT, and no byte past the answer goes unnoticed.
func (c *httpCaller) ended() error {
	n, err := io.Copy(io.Discard, io.LimitReader(c.in, maxAnswer))
	if err != nil {
		return fmt.Errorf("waiting for the close it announced: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("%d bytes after the answer", n)
	}
	return nil
}
