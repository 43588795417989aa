package main

// The load generator must see every failure that a caller would have seen, and no other.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// load is `shop load ARGS…`: its summary.
func load(t *testing.T, args ...string) summary {
	t.Helper()
	plan, err := parseLoad(args)
	if err != nil {
		t.Fatal(err)
	}
	counts := newReport(plan.mode)
	if err := runLoad(t.Context(), plan, counts); err != nil {
		t.Fatal(err)
	}
	return counts.summary()
}

// scripted answers every request with the next of answers (the last again and again) as
// it stands; an answer that says close, or is empty, ends the connection.
func scripted(t *testing.T, answers ...string) (addr string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connections = new(atomic.Int64)
	go func() {
		next := 0
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			r := bufio.NewReader(conn)
			for {
				if _, err := http.ReadRequest(r); err != nil {
					break
				}
				text := answers[min(next, len(answers)-1)]
				next++
				fmt.Fprint(conn, text)
				if text == "" || strings.Contains(text, "close") {
					break
				}
			}
			conn.Close()
		}
	}()
	return l.Addr().String(), connections
}

const (
	kept    = "HTTP/1.1 200 OK\r\nX-Answered-By: s\r\nContent-Length: 2\r\n\r\nok"
	closing = "HTTP/1.1 200 OK\r\nX-Answered-By: s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
)

func TestAKeptConnectionThatBreaksIsAFailure(t *testing.T) {
	addr, _ := scripted(t, kept, kept, "", kept)
	got := load(t, "--url", "http://"+addr, "--duration", "100ms")
	if got.Failed != 1 || got.ByAnswerer["s"] != got.Requests-1 {
		t.Fatalf("%+v", got)
	}
	contains(t, got.Failures[0].Reason, "waiting for an answer", "request 3 on its connection")
}

func TestAnAnnouncedCloseIsNoFailure(t *testing.T) {
	addr, connections := scripted(t, kept, closing, kept)
	got := load(t, "--url", "http://"+addr, "--duration", "100ms")
	if got.Failed != 0 || connections.Load() != 2 {
		t.Fatalf("%+v over %d connections", got, connections.Load())
	}
}

func TestNewMakesAConnectionEach(t *testing.T) {
	addr, connections := scripted(t, closing)
	got := load(t, "--url", "http://"+addr, "--mode", "new", "--duration", "100ms")
	if got.Failed != 0 || got.Requests != connections.Load() {
		t.Fatalf("%+v over %d connections", got, connections.Load())
	}
}

func TestWrongAnswersAreFailures(t *testing.T) {
	for reason, text := range map[string]string{
		"503 Service Unavailable": strings.Replace(kept, "200 OK", "503 Service Unavailable", 1),
		"reading the body":        strings.Replace(closing, ": 2", ": 5", 1),
		"after the answer":        kept + "!",
		"does not match":          strings.Replace(kept, "ok", "no", 1),
		"malformed":               "what?\r\n\r\nclose",
	} {
		addr, _ := scripted(t, text)
		got := load(t, "--url", "http://"+addr, "--duration", "50ms", "--expect", "^ok$")
		if got.Failed == 0 || got.Failed != got.Requests {
			t.Fatalf("%s: %+v", reason, got)
		}
		contains(t, got.Failures[0].Reason, reason)
	}
}

func TestSilenceIsATimeout(t *testing.T) {
	addr, _ := scripted(t, "HTTP/1.1 200 OK\r\n")
	got := load(t, "--url", "http://"+addr, "--duration", "50ms", "--timeout", "60ms")
	if got.Failed == 0 || got.Failed != got.Requests {
		t.Fatalf("%+v", got)
	}
	contains(t, got.Failures[0].Reason, "timeout")
}

func TestEveryModeAgainstTheShop(t *testing.T) {
	orders := startOrders(t, "o", "", "")
	stock, prices := "tcp://"+startStock(t, "o"), "grpc://"+startPrices(t, "o")
	for mode, url := range map[string]string{
		"new": "http://" + orders + "/whoami", "keepalive": "http://" + orders + "/whoami",
		"ws": "http://" + orders + "/ws", "tcp": stock, "tcp-keepalive": stock, "grpc": prices,
	} {
		got := load(t, "--url", url, "--mode", mode, "--workers", "3", "--duration", "100ms", "--expect", `\bo\b`)
		if got.Failed != 0 || got.Requests == 0 || got.ByAnswerer["o"] != got.Requests {
			t.Errorf("%s: %+v", mode, got)
		}
		if got.P50 <= 0 || got.P50 > got.P99 || got.P99 > got.Max {
			t.Errorf("%s: %+v", mode, got)
		}
	}
}

func TestAWebSocketThatSaidGoodbyeIsMadeAgain(t *testing.T) {
	life := newEnding(0)
	leaving, next := &orders{name: "leaving", life: life.lifetime}, startOrders(t, "next", "", "")
	plan := loadPlan{mode: "ws", url: "ws://" + serve(t, life, leaving.serve) + "/ws", timeout: 5 * time.Second}
	caller := wsCaller{plan: &plan}
	defer caller.close()
	by := func() string {
		t.Helper()
		got, err := caller.call()
		if err != nil {
			t.Fatal(err)
		}
		return got.by
	}
	if got := by(); got != "leaving" {
		t.Fatalf("%q answered", got)
	}
	plan.url = "ws://" + next + "/ws"
	life.sigterm()
	for by() == "leaving" {
	}
	if got := by(); got != "next" {
		t.Errorf("%q answered", got)
	}
}

func TestPaceIsKept(t *testing.T) {
	addr, _ := scripted(t, kept)
	got := load(t, "--url", "http://"+addr, "--rate", "100", "--workers", "4", "--duration", "500ms")
	if got.Requests > 60+1 { // 50, and what 100 ms of stall may have saved up
		t.Errorf("%d requests in half a second", got.Requests)
	}
}

func TestReportKeepsTheFirstFailuresAndRanksTheRest(t *testing.T) {
	r := newReport("new")
	for i := range 100 {
		r.add(r.begun.Add(time.Duration(i)*time.Second), time.Duration(i+1)*time.Millisecond, "a", nil)
	}
	for i := range 30 {
		r.add(r.begun.Add(time.Duration(i)*time.Second), 5*time.Second, "", fmt.Errorf("broken"))
	}
	got := r.summary()
	if got.Requests != 130 || got.Failed != 30 || len(got.Failures) != keptFailures || got.ByAnswerer["a"] != 100 {
		t.Errorf("%+v", got)
	}
	if got.P50 < 50 || got.P50 > 51 || got.P99 < 99 || got.P99 > 100 || got.Max != 100 || got.FailedMax != 5000 {
		t.Errorf("p50 %v, p99 %v, max %v, failed %v", got.P50, got.P99, got.Max, got.FailedMax)
	}
	if got.TroubleS != 24 {
		t.Errorf("in trouble for %v s, expected 24: from the end of the first to the begin of the last", got.TroubleS)
	}
	empty, err := json.Marshal(newReport("new").summary())
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(empty), `"failures":[]`, `"trouble_s":0`, `"by_answerer":{}`)
}

func TestLoadsRunBesideEachOther(t *testing.T) {
	addr := startOrders(t, "orders-1", nowhere(t), nowhere(t))
	plans, err := parseLoads([]string{
		"--mode", "new", "--url", "http://" + addr + "/whoami", "--duration", "100ms",
		"--and", "--mode", "ws", "--url", "ws://" + addr + "/ws", "--duration", "100ms",
	})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := runLoads(t.Context(), plans, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var report summary
		if err := json.Unmarshal([]byte(line), &report); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if report.Requests == 0 || report.Failed != 0 {
			t.Errorf("%+v", report)
		}
	}
	contains(t, out.String(), `"mode":"new"`, `"mode":"ws"`)
}

func TestALoadThatCannotBeginEndsThoseBesideIt(t *testing.T) {
	plans, err := parseLoads([]string{"--url", "http://" + nowhere(t) + "/", "--and", "--mode", "dance", "--url", "x"})
	if err != nil {
		t.Fatal(err)
	}
	err = runLoads(t.Context(), plans, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "dance") {
		t.Errorf("%v", err)
	}
}
