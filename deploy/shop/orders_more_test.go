package main

// The endpoints that other tests build on must be right themselves.

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/coder/websocket"
)

func first(n int, seed uint64) []byte {
	b := make([]byte, n)
	_, _ = newPattern(seed).Read(b)
	return b
}

func TestPatternIsSplitmix64(t *testing.T) {
	// The published first outputs for seed 1234567.
	want := []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423}
	got := first(24, 1234567)
	for i, w := range want {
		if g := binary.LittleEndian.Uint64(got[8*i:]); g != w {
			t.Errorf("word %d: %d", i, g)
		}
	}
}

func TestPatternDoesNotDependOnHowItIsRead(t *testing.T) {
	inPieces, err := io.ReadAll(iotest.HalfReader(io.LimitReader(newPattern(9), 1001)))
	if err != nil {
		t.Fatal(err)
	}
	byOnes, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(newPattern(9), 1001)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(inPieces, first(1001, 9)) || !bytes.Equal(byOnes, inPieces) {
		t.Error("the pieces differ from the whole")
	}
}

func TestEchoAnswersEachPieceBeforeTheNext(t *testing.T) {
	conn, err := net.Dial("tcp", startOrders(t, "o", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST /echo HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 3)
	for _, next := range []string{"two", "end", ""} {
		if _, err := io.ReadFull(resp.Body, piece); err != nil {
			t.Fatal(err)
		}
		if next == "" {
			fmt.Fprint(conn, "0\r\n\r\n")
		} else {
			fmt.Fprintf(conn, "3\r\n%s\r\n", next)
		}
	}
	if rest := readAll(t, resp.Body); rest != "" || string(piece) != "end" {
		t.Errorf("%q, then %q", piece, rest)
	}
}

func TestSinkAndBytesAgree(t *testing.T) {
	addr := startOrders(t, "o", "", "")
	hash := fmt.Sprintf("%x", sha256.Sum256(first(100_001, 7)))
	sunk := must(t, (*client).http, "http", "http://"+addr+"/sink", "--method", "PUT", "--send", "100001,7")
	contains(t, sunk, `"bytes":100001`, hash, `"answered_by":"o"`)
	for _, how := range []string{"", "&length=1"} {
		got := must(t, (*client).http, "http", "http://"+addr+"/bytes?n=100001&seed=7"+how, "--sha", "--head")
		contains(t, got, hash+" 100001")
		if strings.Contains(got, "content-length: 100001") != (how != "") {
			t.Errorf("%s: %s", how, got)
		}
	}
	if _, err := runClient(t, (*client).http, "http", "http://"+addr+"/bytes?n=-1"); err == nil {
		t.Error("n=-1 was taken")
	}
}

func TestSmallEndpoints(t *testing.T) {
	addr := "http://" + startOrders(t, "o", "", "")
	if got := must(t, (*client).http, "http", addr+"/whoami"); got != "orders o\n" {
		t.Errorf("%q", got)
	}
	if got := must(t, (*client).http, "http", addr+"/slow?ms=1"); got != "orders o after 1 ms\n" {
		t.Errorf("%q", got)
	}
	contains(t, must(t, (*client).http, "http", addr+"/headers?q", "--header", "X-Some=thing", "--header", "host=shop.example"),
		`"target":"/headers?q"`, `"X-Some":["thing"]`, `"host":"shop.example"`)
	contains(t, must(t, (*client).http, "http", addr+"/sse?n=2"), "id: 1\ndata: o\n\nid: 2\ndata: o\n\n")
	contains(t, must(t, (*client).http, "http", addr+"/status/204", "--head"), "204 No Content", "x-answered-by: o")
	_, err := runClient(t, (*client).http, "http", addr+"/status/418")
	if err == nil || !strings.Contains(err.Error(), "418 I'm a teapot by o") {
		t.Error(err)
	}
}

func TestWebSocketSpeaksFirstAndSaysGoodbye(t *testing.T) {
	life := newEnding(0)
	s := &orders{name: "o", life: life.lifetime}
	addr := serve(t, life, s.serve)
	if got := must(t, (*client).ws, "ws", "http://"+addr+"/ws", "--message", "a", "--message", "b"); got != "hello from o\no: a\no: b\n" {
		t.Errorf("%q", got)
	}

	conn, _, err := websocket.Dial(t.Context(), "ws://"+addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	life.sigterm()
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Error(err)
	}
}

func TestDrainServesOnAndClosesKeptConnections(t *testing.T) {
	life := newEnding(time.Hour) // until the second signal, at the test's end
	addr := serve(t, life, func(l net.Listener) error {
		return serveHTTP(l, answeredBy("o", whoami("orders", "o")), life.lifetime)
	})
	life.sigterm()
	<-life.draining.Done()
	for range 2 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: o\r\n\r\n")
		answer := readAll(t, conn) // up to the server's close
		conn.Close()
		contains(t, answer, "200 OK", "Connection: close", "orders o")
	}
}
