package main

// stock: lines over TCP, the server speaks first. A client may half-close and still gets
// every answer. Lines end in CR LF; a lone LF is understood.
//
//	                           stock NAME ready
//	COUNT coffee               42 NAME
//	SEND 1000 7                1000 bytes of the pattern with seed 7
//	SINK, then bytes, FIN      SHA256 BYTES NAME
//	QUIT                       bye NAME
//	anything else              ERR REASON, NAME

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	stockIdle  = 30 * time.Minute // between two commands
	stockBulk  = time.Hour        // for one SEND or SINK
	maxCommand = 1024
)

func stockRole([]string) error {
	life, err := untilSignal()
	if err != nil {
		return err
	}
	l, err := listen("stock", "7070")
	if err != nil {
		return err
	}
	return (&stock{myName(), life}).serve(l)
}

type stock struct {
	name string
	life lifetime
}

// serve returns when the lifetime has closed and the commands in flight have ended.
func (s *stock) serve(l net.Listener) error {
	stop := context.AfterFunc(s.life.closing, func() { _ = l.Close() })
	defer stop()
	var open sync.WaitGroup
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.life.closing.Err() == nil {
				return err
			}
			return waitAtMost(&open, lastWords)
		}
		open.Go(func() {
			defer conn.Close()
			s.converse(conn)
		})
	}
}

func waitAtMost(group *sync.WaitGroup, most time.Duration) error {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(most):
		return errors.New("some connections were cut at the end")
	}
}

// converse answers commands until the client quits, ends or errs.
func (s *stock) converse(conn net.Conn) {
	if _, err := fmt.Fprintf(conn, "stock %s ready\r\n", s.name); err != nil {
		return
	}
	r := bufio.NewReaderSize(conn, maxCommand)
	for {
		line, err := s.command(conn, r)
		if err != nil || !s.answer(conn, r, line) {
			return
		}
	}
}

// command waits for the next line; a service that closes ends the wait, not the answer.
func (s *stock) command(conn net.Conn, r *bufio.Reader) (string, error) {
	if err := conn.SetReadDeadline(time.Now().Add(stockIdle)); err != nil {
		return "", err
	}
	stop := context.AfterFunc(s.life.closing, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := r.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil // the last line before a half-close
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// answer is false when the connection is to end.
func (s *stock) answer(conn net.Conn, r *bufio.Reader, line string) bool {
	if conn.SetDeadline(time.Now().Add(stockBulk)) != nil {
		return false
	}
	var err error
	words := strings.Fields(line)
	switch {
	case len(words) == 2 && words[0] == "COUNT":
		if p, ok := catalogue[words[1]]; ok {
			_, err = fmt.Fprintf(conn, "%d %s\r\n", p.count, s.name)
		} else {
			_, err = fmt.Fprintf(conn, "ERR no such item, %s\r\n", s.name)
		}
	case len(words) == 3 && words[0] == "SEND":
		err = s.send(conn, words[1], words[2])
	case len(words) == 1 && words[0] == "SINK":
		hash := sha256.New()
		var n int64
		if n, err = io.Copy(hash, r); err == nil {
			_, err = fmt.Fprintf(conn, "%x %d %s\r\n", hash.Sum(nil), n, s.name)
		}
	case len(words) == 1 && words[0] == "QUIT":
		_, _ = fmt.Fprintf(conn, "bye %s\r\n", s.name)
		return false
	default:
		_, err = fmt.Fprintf(conn, "ERR not a command, %s\r\n", s.name)
	}
	return err == nil
}

func (s *stock) send(conn net.Conn, count, seed string) error {
	n, err := strconv.ParseUint(count, 10, 64)
	start, seedErr := strconv.ParseUint(seed, 10, 64)
	if err != nil || seedErr != nil || n > maxBytes {
		_, err = fmt.Fprintf(conn, "ERR SEND takes a count up to %d and a seed, %s\r\n", uint64(maxBytes), s.name)
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{conn}, io.LimitReader(newPattern(start), int64(n)), make([]byte, 64<<10))
	return err
}

// stockCount is the client's side of a new connection: the greeting, then one COUNT.
func stockCount(conn io.Writer, r *bufio.Reader, item string) (stockInfo, error) {
	if err := readGreeting(r); err != nil {
		return stockInfo{}, err
	}
	return count(conn, r, item)
}

func readGreeting(r *bufio.Reader) error {
	line, err := readLine(r)
	if err != nil {
		return fmt.Errorf("waiting for the greeting: %w", err)
	}
	if words := strings.Fields(line); len(words) != 3 || words[0] != "stock" || words[2] != "ready" {
		return fmt.Errorf("not stock's greeting: %q", line)
	}
	return nil
}

func count(conn io.Writer, r *bufio.Reader, item string) (stockInfo, error) {
	if _, err := fmt.Fprintf(conn, "COUNT %s\r\n", item); err != nil {
		return stockInfo{}, err
	}
	line, err := readLine(r)
	if err != nil {
		return stockInfo{}, fmt.Errorf("waiting for the count: %w", err)
	}
	number, name, ok := strings.Cut(line, " ")
	n, err := strconv.Atoi(number)
	if !ok || err != nil {
		return stockInfo{}, fmt.Errorf("answer: %q", line)
	}
	return stockInfo{Item: item, Count: n, AnsweredBy: name}, nil
}

// readLine takes one whole line: half a line is the error that ended it.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}
