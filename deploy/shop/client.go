package main

// client: one request, its answer on stdout; exit code 1 and the reason on stderr when
// there is none. Tests run it inside pods, where there is no shell and no curl.

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const clientUsage = `usage:
  shop client http URL [--method M] [--header N=V]… [--data TEXT] [--send N[,SEED]] [--sha] [--head]
  shop client ws URL [--header N=V]… [--message TEXT]…
  shop client grpc ADDR get|watch|sum|chat [ITEM]… [--header N=V]… [--count N] [--interval-ms N]
  shop client stock ADDR COUNT ITEM | SEND N SEED | SINK N SEED
each with [--timeout 10s]
  shop client -     a JSON array of these arguments on each line of stdin, and for each a line
                    {"line":N,"code":0,"stdout":"…","stderr":"…"}; they run beside each other
`

func clientRole(args []string) error {
	if slices.Equal(args, []string{"-"}) {
		return answerLines(os.Stdin, os.Stdout)
	}
	return oneRequest(args, os.Stdout)
}

func oneRequest(args []string, out io.Writer) error {
	kinds := map[string]func(c *client, ctx context.Context) error{
		"http":  (*client).http,
		"ws":    (*client).ws,
		"grpc":  (*client).grpc,
		"stock": (*client).stock,
	}
	if len(args) == 0 || kinds[args[0]] == nil {
		return errors.New(clientUsage)
	}
	c, err := newClient(args[0], args[1:], out)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, clientUsage)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	return kinds[args[0]](c, ctx)
}

// client is the command line of one request.
type client struct {
	args    []string // URL or ADDR, and what follows
	out     io.Writer
	header  headerFlag
	timeout time.Duration

	method, data, send string // http
	sha, head          bool
	messages           []string // ws
	count, intervalMs  uint     // grpc
}

func newClient(kind string, args []string, out io.Writer) (*client, error) {
	c := &client{out: out, header: headerFlag{}}
	flags := flag.NewFlagSet("client "+kind, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.DurationVar(&c.timeout, "timeout", 10*time.Second, "")
	most := 1
	if kind != "stock" {
		flags.Var(c.header, "header", "")
	}
	switch kind {
	case "http":
		flags.StringVar(&c.method, "method", "", "")
		flags.StringVar(&c.data, "data", "", "")
		flags.StringVar(&c.send, "send", "", "")
		flags.BoolVar(&c.sha, "sha", false, "")
		flags.BoolVar(&c.head, "head", false, "")
	case "ws":
		flags.Func("message", "", func(m string) error { c.messages = append(c.messages, m); return nil })
	case "grpc":
		most = 100
		flags.UintVar(&c.count, "count", 0, "")
		flags.UintVar(&c.intervalMs, "interval-ms", 0, "")
	case "stock":
		most = 4
	}
	var err error
	c.args, err = parseArgs(flags, args, 1, most)
	return c, err
}

func (c *client) http(ctx context.Context) error {
	body, length, err := c.body()
	if err != nil {
		return err
	}
	method := c.method
	if method == "" {
		method = http.MethodGet
		if body != nil {
			method = http.MethodPost
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.args[0], body)
	if err != nil {
		return err
	}
	req.ContentLength = length
	req.Host = c.header.host(req.Host)
	for name, values := range c.header {
		req.Header[name] = values
	}
	// An answer of 3xx is an answer, and gzip is the caller's to ask for.
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.head {
		printHead(c.out, resp)
	}
	if resp.StatusCode >= 400 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	if c.sha {
		return printHash(c.out, resp.Body)
	}
	_, err = io.Copy(c.out, resp.Body)
	return err
}

// body is nil, the text of --data, or N bytes of the pattern for --send.
func (c *client) body() (io.Reader, int64, error) {
	switch {
	case c.send != "":
		count, seed, _ := strings.Cut(c.send, ",")
		if seed == "" {
			seed = "1"
		}
		r, n, err := somePattern(count, seed)
		return r, n, err
	case c.data != "":
		return strings.NewReader(c.data), int64(len(c.data)), nil
	}
	return nil, 0, nil
}

func somePattern(count, seed string) (io.Reader, int64, error) {
	n, err := strconv.ParseUint(count, 10, 64)
	if err != nil || n > maxBytes {
		return nil, 0, fmt.Errorf("not a count of bytes up to %d: %s", uint64(maxBytes), count)
	}
	start, err := strconv.ParseUint(seed, 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("not a seed: %s", seed)
	}
	return io.LimitReader(newPattern(start), int64(n)), int64(n), nil
}

func printHead(out io.Writer, resp *http.Response) {
	fmt.Fprintf(out, "%s %s\n", resp.Proto, resp.Status)
	names := slices.Sorted(maps.Keys(resp.Header))
	for _, name := range names {
		for _, v := range resp.Header[name] {
			fmt.Fprintf(out, "%s: %s\n", strings.ToLower(name), v)
		}
	}
	fmt.Fprintln(out)
}

func printHash(out io.Writer, r io.Reader) error {
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	fmt.Fprintf(out, "%x %d\n", hash.Sum(nil), n)
	return nil
}

func (c *client) ws(ctx context.Context) error {
	conn, _, err := websocket.Dial(ctx, c.args[0], &websocket.DialOptions{
		Host:       c.header.host(""),
		HTTPHeader: http.Header(c.header),
	})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage)
	for i := -1; i < len(c.messages); i++ {
		if i >= 0 { // the server speaks first
			if err := conn.Write(ctx, websocket.MessageText, []byte(c.messages[i])); err != nil {
				return err
			}
		}
		_, text, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%s\n", text)
	}
	return conn.Close(websocket.StatusNormalClosure, "")
}

func (c *client) stock(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	r := bufio.NewReader(conn)
	if err := readGreeting(r); err != nil {
		return err
	}
	command := c.args[1:]
	switch {
	case len(command) == 2 && command[0] == "COUNT":
		info, err := count(conn, r, command[1])
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "%d %s\n", info.Count, info.AnsweredBy)
		return nil
	case len(command) == 3 && command[0] == "SEND":
		return fetchBulk(conn, r, c.out, command[1], command[2])
	case len(command) == 3 && command[0] == "SINK":
		return sendBulk(conn.(*net.TCPConn), r, c.out, command[1], command[2])
	}
	return errors.New(clientUsage)
}

// fetchBulk prints the hash of what SEND sent and fails when that is not the pattern.
func fetchBulk(conn io.Writer, r io.Reader, out io.Writer, size, seed string) error {
	want, n, err := somePattern(size, seed)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "SEND %s %s\r\n", size, seed); err != nil {
		return err
	}
	var got, expected strings.Builder
	if err := printHash(&got, io.LimitReader(r, n)); err != nil {
		return err
	}
	if err := printHash(&expected, want); err != nil {
		return err
	}
	if got.String() != expected.String() {
		return fmt.Errorf("received %s, expected %s", strings.TrimSpace(got.String()), strings.TrimSpace(expected.String()))
	}
	_, err = io.WriteString(out, got.String())
	return err
}

func sendBulk(conn *net.TCPConn, r *bufio.Reader, out io.Writer, size, seed string) error {
	body, _, err := somePattern(size, seed)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "SINK\r\n"); err != nil {
		return err
	}
	if _, err := io.Copy(conn, body); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	line, err := readLine(r)
	if err != nil {
		return fmt.Errorf("waiting for the hash: %w", err)
	}
	fmt.Fprintln(out, line)
	return nil
}
