package main

// orders: the service that the docs take to the laptop. GET / puts together the price
// (gRPC), the stock (TCP) and what the pod's environment and files say; where a
// neighbour cannot be reached, its field says why and the rest is answered all the same.
// The endpoints for tests are in orders_more.go.

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"bridge.example/shop/pricespb"
)

func ordersRole([]string) error {
	patience, err := time.ParseDuration(envOr("NEIGHBOUR_TIMEOUT", "250ms"))
	if err != nil {
		return fmt.Errorf("NEIGHBOUR_TIMEOUT: %w", err)
	}
	life, err := untilSignal()
	if err != nil {
		return err
	}
	l, err := listen("orders", "8080")
	if err != nil {
		return err
	}
	s := &orders{
		name:       myName(),
		pricesAddr: envOr("PRICES_ADDR", "prices:50051"),
		stockAddr:  envOr("STOCK_ADDR", "stock:7070"),
		menuFile:   envOr("MENU_FILE", "/etc/shop/menu.txt"),
		patience:   patience,
		life:       life,
	}
	return s.serve(l)
}

type orders struct {
	name       string
	pricesAddr string
	stockAddr  string
	menuFile   string
	patience   time.Duration // with both neighbours together
	life       lifetime
	sockets    sync.WaitGroup // WebSockets: net/http forgets them
}

// serve returns when the lifetime has closed and the WebSockets have said goodbye.
func (s *orders) serve(l net.Listener) error {
	if err := serveHTTP(l, s.handler(), s.life); err != nil {
		return err
	}
	return waitAtMost(&s.sockets, lastWords)
}

func (s *orders) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.order)
	mux.HandleFunc("GET /whoami", whoami("orders", s.name))
	mux.HandleFunc("GET /readyz", ready)
	mux.HandleFunc("/headers", s.headers)
	mux.HandleFunc("POST /echo", s.echo)
	mux.HandleFunc("PUT /sink", s.sink)
	mux.HandleFunc("GET /bytes", s.bytes)
	mux.HandleFunc("GET /slow", s.slow)
	mux.HandleFunc("/status/{code}", s.status)
	mux.HandleFunc("GET /sse", s.events)
	mux.HandleFunc("GET /ws", s.webSocket)
	return answeredBy(s.name, mux)
}

// order is what GET / of orders answers.
type order struct {
	Service    string    `json:"service"`
	AnsweredBy string    `json:"answered_by"`
	Price      priceInfo `json:"price"`
	Stock      stockInfo `json:"stock"`
	Greeting   string    `json:"greeting"`
	SecretSet  bool      `json:"secret_set"`
	Menu       string    `json:"menu"`
	MenuError  string    `json:"menu_error,omitempty"`
}

type priceInfo struct {
	Item       string `json:"item,omitempty"`
	Cents      int64  `json:"cents,omitempty"`
	AnsweredBy string `json:"answered_by,omitempty"`
	Error      string `json:"error,omitempty"`
}

type stockInfo struct {
	Item       string `json:"item,omitempty"`
	Count      int    `json:"count,omitempty"`
	AnsweredBy string `json:"answered_by,omitempty"`
	Error      string `json:"error,omitempty"`
}

func (s *orders) order(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	o := order{
		Service:    "orders",
		AnsweredBy: s.name,
		Greeting:   os.Getenv("GREETING"),
		SecretSet:  os.Getenv("SHOP_SECRET") != "",
	}
	item := r.URL.Query().Get("item")
	if item == "" {
		item = defaultItem
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { o.Price = askPrice(ctx, s.pricesAddr, item, r.Header) })
	both.Go(func() { o.Stock = askStock(ctx, s.stockAddr, item) })
	// Read each time: a mounted ConfigMap changes under the running pod.
	if menu, err := os.ReadFile(s.menuFile); err != nil {
		o.MenuError = err.Error()
	} else {
		o.Menu = strings.TrimSpace(string(menu))
	}
	both.Wait()
	writeJSON(w, http.StatusOK, o)
	log.Printf("GET %s from %s: %v", r.URL, r.RemoteAddr, time.Since(started).Round(time.Millisecond))
}

// askPrice makes a connection of its own, as askStock does: a kept one would not notice
// that the Service leads elsewhere now, and would remember a failure for a while.
func askPrice(ctx context.Context, addr, item string, from http.Header) priceInfo {
	conn, err := dialGRPC(addr)
	if err != nil {
		return priceInfo{Error: err.Error()}
	}
	defer conn.Close()
	for _, name := range handedOn {
		for _, v := range from.Values(name) {
			ctx = metadata.AppendToOutgoingContext(ctx, name, v)
		}
	}
	price, err := pricespb.NewPricesClient(conn).Get(ctx, &pricespb.GetRequest{Item: item})
	if err != nil {
		return priceInfo{Error: fmt.Sprintf("prices at %s: %s", addr, status.Convert(err).Message())}
	}
	return priceInfo{Item: price.Item, Cents: price.Cents, AnsweredBy: price.AnsweredBy}
}

// dialGRPC connects at the first call, to what the name means then.
func dialGRPC(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func askStock(ctx context.Context, addr, item string) stockInfo {
	info, err := countStock(ctx, addr, item)
	if err != nil {
		return stockInfo{Error: fmt.Sprintf("stock at %s: %v", addr, err)}
	}
	return info
}

func countStock(ctx context.Context, addr, item string) (stockInfo, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return stockInfo{}, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return stockInfo{}, err
		}
	}
	return stockCount(conn, bufio.NewReader(conn), item)
}
