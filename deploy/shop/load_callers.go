package main

// One caller is one worker's way to make requests: it owns its connection and says in
// its errors what became of it. The one for HTTP/1 is in load_http.go.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"bridge.example/shop/pricespb"
)

// answer is what a caller got.
type answer struct {
	by   string // the server that gave it, "" if it does not say
	body []byte // what --expect looks at
}

type caller interface {
	// call makes one request within the timeout.
	call() (answer, error)
	close()
}

// callersFor returns what makes a caller for each worker.
func callersFor(plan *loadPlan) (func() caller, error) {
	switch plan.mode {
	case "new", "keepalive":
		request, err := newHTTPRequest(plan)
		if err != nil {
			return nil, err
		}
		return func() caller { return &httpCaller{httpRequest: *request} }, nil
	case "ws":
		host := plan.header.host("")
		return func() caller { return &wsCaller{plan: plan, host: host} }, nil
	case "tcp", "tcp-keepalive":
		addr := strings.TrimPrefix(plan.url, "tcp://")
		return func() caller {
			return &stockCaller{addr: addr, keep: plan.mode == "tcp-keepalive", timeout: plan.timeout}
		}, nil
	case "grpc":
		return func() caller { return &grpcCaller{plan: plan} }, nil
	}
	return nil, fmt.Errorf("no such mode: %s", plan.mode)
}

// wsCaller keeps one WebSocket and makes a new one after it broke.
type wsCaller struct {
	plan *loadPlan
	host string
	conn *websocket.Conn
	made int
}

func (c *wsCaller) close() {
	if c.conn != nil {
		_ = c.conn.CloseNow()
		c.conn = nil
	}
}

func (c *wsCaller) call() (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.plan.timeout)
	defer cancel()
	got, err := c.echo(ctx)
	if websocket.CloseStatus(err) == websocket.StatusGoingAway {
		c.close() // a goodbye in order: the next server has the message
		got, err = c.echo(ctx)
	}
	if err != nil {
		c.close()
		err = fmt.Errorf("%w (message %d on its WebSocket)", err, c.made)
	}
	return got, err
}

func (c *wsCaller) echo(ctx context.Context) (answer, error) {
	if c.conn == nil {
		c.made = 0
		conn, _, err := websocket.Dial(ctx, c.plan.url, &websocket.DialOptions{Host: c.host, HTTPHeader: http.Header(c.plan.header)})
		if err != nil {
			return answer{}, err
		}
		c.conn = conn
		_, hello, err := conn.Read(ctx)
		if err != nil {
			return answer{}, fmt.Errorf("waiting for hello: %w", err)
		}
		if !bytes.HasPrefix(hello, []byte("hello from ")) {
			return answer{}, fmt.Errorf("not a hello: %.100q", hello)
		}
	}
	c.made++
	message := fmt.Sprintf("message %d", c.made)
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		return answer{}, err
	}
	_, echo, err := c.conn.Read(ctx)
	if err != nil {
		return answer{}, err
	}
	by, ok := bytes.CutSuffix(echo, []byte(": "+message))
	if !ok {
		return answer{}, fmt.Errorf("sent %q, received %.200q", message, echo)
	}
	return answer{string(by), echo}, nil
}

// stockCaller counts coffee.
type stockCaller struct {
	addr    string
	keep    bool
	timeout time.Duration
	conn    net.Conn
	in      *bufio.Reader
	made    int
}

func (c *stockCaller) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

func (c *stockCaller) call() (answer, error) {
	got, err := c.count(time.Now().Add(c.timeout))
	if err != nil || !c.keep {
		c.close()
	}
	if err != nil && c.made > 1 {
		err = fmt.Errorf("%w (request %d on its connection)", err, c.made)
	}
	return got, err
}

func (c *stockCaller) count(deadline time.Time) (answer, error) {
	if c.conn == nil {
		c.made = 0
		conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", c.addr)
		if err != nil {
			return answer{}, err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	c.made++
	if err := c.conn.SetDeadline(deadline); err != nil {
		return answer{}, err
	}
	if c.made == 1 {
		if err := readGreeting(c.in); err != nil {
			return answer{}, err
		}
	}
	info, err := count(c.conn, c.in, defaultItem)
	if err == nil && !c.keep {
		err = c.quit()
	}
	return answer{info.AnsweredBy, fmt.Appendf(nil, "%d %s", info.Count, info.AnsweredBy)}, err
}

// quit lets the server close first, so that the port in TIME_WAIT is not ours.
func (c *stockCaller) quit() error {
	if _, err := io.WriteString(c.conn, "QUIT\r\n"); err != nil {
		return err
	}
	last, err := io.ReadAll(io.LimitReader(c.in, maxCommand))
	if err != nil {
		return fmt.Errorf("waiting for goodbye: %w", err)
	}
	if !bytes.HasPrefix(last, []byte("bye ")) || bytes.Count(last, []byte("\n")) != 1 {
		return fmt.Errorf("not a goodbye: %q", last)
	}
	return nil
}

// grpcCaller leaves its connection to grpc-go, which sends a call again when, and only
// when, the server said that it had not begun it.
type grpcCaller struct {
	plan *loadPlan
	conn *grpc.ClientConn
}

func (c *grpcCaller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *grpcCaller) call() (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.plan.timeout)
	defer cancel()
	if c.conn == nil {
		conn, err := dialGRPC(strings.TrimPrefix(c.plan.url, "grpc://"))
		if err != nil {
			return answer{}, err
		}
		c.conn = conn
	}
	for name, values := range c.plan.header {
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, name, v)
		}
	}
	price, err := pricespb.NewPricesClient(c.conn).Get(ctx, &pricespb.GetRequest{Item: defaultItem})
	if err != nil {
		c.close()
		return answer{}, fmt.Errorf("%s: %s", status.Code(err), status.Convert(err).Message())
	}
	return answer{price.AnsweredBy, []byte(price.String())}, nil
}
