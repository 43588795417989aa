package main

// The four services together, as callers see them.

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"bridge.example/shop/pricespb"
)

func TestNameOfWhoAnswers(t *testing.T) {
	for _, c := range []struct{ shop, pod, host, want string }{
		{"", "", "thinkpad", "laptop:thinkpad"},
		{"", "orders-5b-x1", "orders-5b-x1", "orders-5b-x1"},
		{"", "orders-5b-x1", "thinkpad", "laptop:thinkpad"}, // a pod's environment on a laptop
		{"alice", "orders-5b-x1", "orders-5b-x1", "alice"},
		{"", strings.Repeat("a", 70), strings.Repeat("a", 63), strings.Repeat("a", 70)},
	} {
		env := map[string]string{"SHOP_NAME": c.shop, "POD_NAME": c.pod}
		if got := nameFrom(func(k string) string { return env[k] }, c.host); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestEachStepSaysWhoAnswered(t *testing.T) {
	t.Setenv("GREETING", "Welcome")
	t.Setenv("SHOP_SECRET", "x")
	orders := startOrders(t, "orders-1", startPrices(t, "prices-1"), startStock(t, "stock-1"))
	web := startHTTP(t, newWeb("web-1", "http://"+orders))

	page := must(t, (*client).http, "http", "http://"+web+"/", "--head")

	contains(t, page, "x-answered-by: web-1", `"answered_by":"web-1"`, `"answered_by":"orders-1"`,
		`"price":{"item":"coffee","cents":350,"answered_by":"prices-1"}`,
		`"stock":{"item":"coffee","count":42,"answered_by":"stock-1"}`,
		`"greeting":"Welcome"`, `"secret_set":true`, `"menu":"coffee, tea and cake"`)
}

func TestOrdersAnswersWithoutItsNeighbours(t *testing.T) {
	orders := startOrders(t, "orders-1", nowhere(t), nowhere(t))
	answer := must(t, (*client).http, "http", "http://"+orders+"/")
	contains(t, answer, `"price":{"error":"prices at 127.0.0.1:`, `"stock":{"error":"stock at 127.0.0.1:`, "refused")
}

func TestOrdersWaitsForSilentNeighboursOnlySoLong(t *testing.T) {
	// Given neighbours that accept and say nothing
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	life := newEnding(0)
	s := &orders{name: "o", pricesAddr: silent.Addr().String(), stockAddr: silent.Addr().String(), patience: 50 * time.Millisecond, life: life.lifetime}
	addr := startHTTP(t, s.handler())
	started := time.Now()

	answer := must(t, (*client).http, "http", "http://"+addr+"/")

	contains(t, answer, `"price":{"error":`, `"stock":{"error":`)
	if took := time.Since(started); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestWebSaysWhoAnsweredInPlaceOfOrders(t *testing.T) {
	stranger := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "session alice: nothing listens on port 3000", http.StatusServiceUnavailable)
	}))
	web := startHTTP(t, newWeb("web-1", "http://"+stranger))
	_, err := runClient(t, (*client).http, "http", "http://"+web+"/")
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "502", "503 Service Unavailable", "nothing listens on port 3000")
}

// The headers that route a request are handed on from web to orders to prices.
func TestRoutingHeadersAreHandedOn(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	spy := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		return next(ctx, req)
	}))
	pricespb.RegisterPricesServer(spy, &prices{name: "spy"})
	life := newEnding(0)
	spyAddr := serve(t, life, func(l net.Listener) error { return serveGRPC(l, spy, life.lifetime) })
	orders := startOrders(t, "orders-1", spyAddr, nowhere(t))
	web := startHTTP(t, newWeb("web-1", "http://"+orders))

	must(t, (*client).http, "http", "http://"+web+"/",
		"--header", "x-bridge=alice", "--header", "Baggage=bridge=alice", "--header", "baggage=a=b",
		"--header", "traceparent=00-1-2-01", "--header", "tracestate=bridge=alice", "--header", "kubernetes-route-as=alice", "--header", "authorization=no")

	md := <-seen
	for name, want := range map[string]int{"x-bridge": 1, "baggage": 2, "traceparent": 1, "tracestate": 1, "kubernetes-route-as": 1, "authorization": 0} {
		if len(md[name]) != want {
			t.Errorf("%s: %q", name, md[name])
		}
	}
}

func TestPricesAllFourKinds(t *testing.T) {
	addr := startPrices(t, "prices-1")
	trailer := `{"trailer":{"x-answered-by":["prices-1"]}}`
	get := must(t, (*client).grpc, "grpc", addr, "get", "tea")
	contains(t, get, `"answered_by":"prices-1"`, `"cents":"280"`, trailer)
	watch := must(t, (*client).grpc, "grpc", addr, "watch", "--count", "5")
	contains(t, watch, `"number":5`, trailer)
	sum := must(t, (*client).grpc, "grpc", addr, "sum", "tea", "cake", "cake")
	contains(t, sum, `"cents":"1120"`, `"lines":3`, trailer)
	chat := must(t, (*client).grpc, "grpc", addr, "chat", "one", "two")
	contains(t, chat, `"text":"one"`, `"text":"two"`, trailer)

	_, err := runClient(t, (*client).grpc, "grpc", addr, "sum", "tea", "beer", "cake")
	if err == nil || !strings.Contains(err.Error(), "NotFound") {
		t.Errorf("beer: %v", err)
	}
}

func TestPricesHealthAndReflection(t *testing.T) {
	conn, err := dialGRPC(startPrices(t, "prices-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{},
	}); err != nil {
		t.Fatal(err)
	}
	list, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	contains(t, list.String(), "shop.prices.v1.Prices")
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

func TestStockSpeaksFirstAndAnswersAfterHalfClose(t *testing.T) {
	conn, err := net.Dial("tcp", startStock(t, "stock-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	if err := readGreeting(r); err != nil { // before we said anything
		t.Fatal(err)
	}
	// When commands come in one piece, the last without its end, and then FIN
	fmt.Fprint(conn, "COUNT coffee\r\nCOUNT beer\r\nDANCE\nSEND 3 1\r\nCOUNT tea")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	want := "42 stock-1\r\nERR no such item, stock-1\r\nERR not a command, stock-1\r\n" +
		string(first(3, 1)) + "17 stock-1\r\n"
	if got := readAll(t, r); got != want {
		t.Errorf("%q", got)
	}
}

func TestStockBulkBothWays(t *testing.T) {
	addr := startStock(t, "stock-1")
	sent := must(t, (*client).stock, "stock", addr, "SEND", "1000003", "7")
	sunk := must(t, (*client).stock, "stock", addr, "SINK", "1000003", "7")
	if strings.TrimSpace(sent)+" stock-1" != strings.TrimSpace(sunk) {
		t.Errorf("%s %s", sent, sunk)
	}
}

func TestStockRefusesALineWithoutAnEnd(t *testing.T) {
	conn, err := net.Dial("tcp", startStock(t, "stock-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, strings.Repeat("x", maxCommand))
	contains(t, readAll(t, conn), "stock stock-1 ready")
}
