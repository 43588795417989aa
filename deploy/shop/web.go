package main

// web: the front of the shop. GET / asks orders and answers with who answered at each
// step; the headers that decide where a request goes are handed on.

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// handedOn are the request headers that every service of the shop passes along.
var handedOn = []string{"X-Bridge", "Baggage", "Traceparent", "Tracestate", "Kubernetes-Route-As"}

func handOn(to, from http.Header) {
	for _, name := range handedOn {
		if v := from.Values(name); len(v) > 0 {
			to[name] = v
		}
	}
}

func webRole([]string) error {
	life, err := untilSignal()
	if err != nil {
		return err
	}
	l, err := listen("web", "8080")
	if err != nil {
		return err
	}
	return serveHTTP(l, newWeb(myName(), envOr("ORDERS_URL", "http://orders:80")), life)
}

type web struct {
	name      string
	ordersURL string
	client    *http.Client
}

func newWeb(name, ordersURL string) http.Handler {
	s := &web{name, ordersURL, &http.Client{
		// As long as a developer may stay at a breakpoint in orders.
		Timeout: 5 * time.Minute,
		// A kept connection would not notice that the Service leads elsewhere now.
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.front)
	mux.HandleFunc("GET /whoami", whoami("web", name))
	mux.HandleFunc("GET /readyz", ready)
	return answeredBy(name, mux)
}

// page is what GET / of web answers.
type page struct {
	Service    string          `json:"service"`
	AnsweredBy string          `json:"answered_by"`
	Orders     json.RawMessage `json:"orders,omitempty"`
	Error      string          `json:"error,omitempty"`
}

func (s *web) front(w http.ResponseWriter, r *http.Request) {
	p := page{Service: "web", AnsweredBy: s.name}
	code := http.StatusOK
	body, err := s.askOrders(r)
	if err != nil {
		p.Error, code = err.Error(), http.StatusBadGateway
	} else {
		p.Orders = body
	}
	writeJSON(w, code, p)
}

// askOrders returns the JSON of orders, or an error with the text of the answer that came
// instead.
func (s *web) askOrders(r *http.Request) (json.RawMessage, error) {
	to, err := url.Parse(s.ordersURL)
	if err != nil {
		return nil, err
	}
	to = to.JoinPath("/")
	to.RawQuery = r.URL.RawQuery
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	handOn(req.Header, r.Header)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("orders: %w", err)
	}
	if resp.StatusCode != http.StatusOK || !json.Valid(body) {
		return nil, fmt.Errorf("orders answered %s: %.500s", resp.Status, body)
	}
	return body, nil
}
