package main

// The endpoints of orders that tests drive: bodies of every shape, slow answers, every
// status, streams of events, WebSocket.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

const (
	maxBytes   = 16 << 30         // of one generated body
	maxPause   = 10 * time.Minute // of one slow answer
	maxEvents  = 100_000
	maxMessage = 16 << 20 // of one WebSocket message
)

// answeredBy puts the name on every answer, those of the mux (404, 405) included.
func answeredBy(name string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(answeredByHeader, name)
		h.ServeHTTP(w, r)
	})
}

func whoami(service, name string) http.HandlerFunc {
	body := []byte(service + " " + name + "\n")
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(body) // a caller that has gone needs no answer
	}
}

func ready(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") }

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

// number reads one whole number of the query; it answers 400 itself when it is not one.
func number(w http.ResponseWriter, r *http.Request, name string, otherwise, most uint64) (uint64, bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most {
		http.Error(w, fmt.Sprintf("%s=%s is not a whole number up to %d", name, text, most), http.StatusBadRequest)
		return 0, false
	}
	return n, true
}

// head is the head of a request as it was received.
type head struct {
	AnsweredBy       string      `json:"answered_by"`
	RemoteAddr       string      `json:"remote_addr"`
	Method           string      `json:"method"`
	Target           string      `json:"target"`
	Proto            string      `json:"proto"`
	Host             string      `json:"host"`
	TransferEncoding []string    `json:"transfer_encoding,omitempty"`
	Headers          http.Header `json:"headers"`
}

func (s *orders) headers(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, head{s.name, r.RemoteAddr, r.Method, r.RequestURI, r.Proto, r.Host, r.TransferEncoding, r.Header})
}

// echo answers each piece of the body when it comes, before the next is sent.
func (s *orders) echo(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	if err := out.EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			if err := out.Flush(); err != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			// Half a body must not look like a whole answer.
			panic(http.ErrAbortHandler)
		}
	}
}

type sunk struct {
	Bytes      int64  `json:"bytes"`
	SHA256     string `json:"sha256"`
	AnsweredBy string `json:"answered_by"`
}

func (s *orders) sink(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		http.Error(w, fmt.Sprintf("the body ended after %d bytes: %v", n, err), http.StatusBadRequest)
		return
	}
	writeJSON(w, http.StatusOK, sunk{n, hex.EncodeToString(hash.Sum(nil)), s.name})
}

func (s *orders) bytes(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, "n", 1024, maxBytes)
	if !ok {
		return
	}
	seed, ok := number(w, r, "seed", 1, 1<<63)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Query().Get("length") == "1" {
		w.Header().Set("Content-Length", strconv.FormatUint(n, 10))
	} else if err := http.NewResponseController(w).Flush(); err != nil { // else short bodies get a length
		return
	}
	_, _ = io.CopyN(w, newPattern(seed), int64(n))
}

func (s *orders) slow(w http.ResponseWriter, r *http.Request) {
	ms, ok := number(w, r, "ms", 1000, uint64(maxPause.Milliseconds()))
	if !ok || !pause(r.Context(), time.Duration(ms)*time.Millisecond) {
		return
	}
	fmt.Fprintf(w, "orders %s after %d ms\n", s.name, ms)
}

// pause is false when the caller has gone meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *orders) status(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 599 {
		http.Error(w, "a status is a number from 200 to 599", http.StatusBadRequest)
		return
	}
	w.WriteHeader(code)
	if code != http.StatusNoContent && code != http.StatusNotModified {
		fmt.Fprintf(w, "%d %s by %s\n", code, http.StatusText(code), s.name)
	}
}

// events sends n server-sent events, `ms` apart.
func (s *orders) events(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r, "n", 3, maxEvents)
	if !ok {
		return
	}
	ms, ok := number(w, r, "ms", 0, uint64(maxPause.Milliseconds()))
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for i := range n {
		if i > 0 && !pause(r.Context(), time.Duration(ms)*time.Millisecond) {
			return
		}
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i+1, s.name)
		if err := out.Flush(); err != nil {
			return
		}
	}
}

// webSocket speaks first, then echoes each message behind its name.
func (s *orders) webSocket(w http.ResponseWriter, r *http.Request) {
	s.sockets.Add(1)
	defer s.sockets.Done()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // any Origin: nothing here is anyone's own
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage)
	ctx, cancel := context.WithCancel(context.Background()) // the request's ends with the upgrade
	defer cancel()
	stop := context.AfterFunc(s.life.closing, func() { _ = conn.Close(websocket.StatusGoingAway, "shutting down") })
	defer stop()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello from "+s.name)); err != nil {
		return
	}
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if err := conn.Write(ctx, kind, append([]byte(s.name+": "), message...)); err != nil {
			return
		}
	}
}
