// Calls of all four kinds with grpc-go, on one connection: calls ADDR CALLER… makes each kind of call as each of the
// callers, all at a time, and prints KIND CALLER ANSWERED_BY for each, and at last how many connections it made.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"bridge.example/shop/pricespb"
)

const (
	patience    = 20 * time.Second
	messages    = 5
	signatureIn = "x-answered-by"
)

// answer is what a call gave: who signed its messages, its header and its trailer.
type answer struct {
	messages        []string
	header, trailer metadata.MD
}

type method func(context.Context, pricespb.PricesClient) (answer, error)

var kinds = []struct {
	name string
	call method
}{
	{"unary", unary},
	{"server-streaming", serverStreaming},
	{"client-streaming", clientStreaming},
	{"bidirectional", bidirectional},
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: calls ADDR CALLER…")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "calls:", err)
		os.Exit(1)
	}
}

func run(address string, callers []string) error {
	var connections atomic.Int32
	dial := func(ctx context.Context, to string) (net.Conn, error) {
		connections.Add(1)
		return new(net.Dialer).DialContext(ctx, "tcp", to)
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	if err != nil {
		return err
	}
	defer conn.Close()
	prices := pricespb.NewPricesClient(conn)
	for _, kind := range kinds {
		answers := make([]string, len(callers))
		var all sync.WaitGroup
		for i, caller := range callers {
			all.Go(func() { answers[i] = answeredBy(kind.call, prices, caller) })
		}
		all.Wait()
		for i, caller := range callers {
			fmt.Println(kind.name, caller, answers[i])
		}
	}
	fmt.Println("connections", connections.Load())
	return nil
}

// answeredBy names who answered a call, everyone if they were several, or says why there was no answer.
func answeredBy(call method, prices pricespb.PricesClient, caller string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got, err := call(metadata.AppendToOutgoingContext(ctx, "x-bridge", caller), prices)
	if err != nil {
		return err.Error()
	}
	names := slices.Concat(got.messages, signature(got.header), signature(got.trailer))
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " and ")
}

func signature(of metadata.MD) []string {
	if names := of.Get(signatureIn); len(names) > 0 {
		return names
	}
	return []string{"(unsigned)"}
}

func unary(ctx context.Context, prices pricespb.PricesClient) (answer, error) {
	var got answer
	price, err := prices.Get(ctx, &pricespb.GetRequest{Item: "tea"}, grpc.Header(&got.header), grpc.Trailer(&got.trailer))
	got.messages = []string{price.GetAnsweredBy()}
	return got, err
}

func serverStreaming(ctx context.Context, prices pricespb.PricesClient) (answer, error) {
	stream, err := prices.Watch(ctx, &pricespb.WatchRequest{Item: "tea", Count: messages, IntervalMs: 20})
	if err != nil {
		return answer{}, err
	}
	var names []string
	for {
		price, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return answer{}, err
		}
		names = append(names, price.AnsweredBy)
	}
	if len(names) != messages {
		return answer{}, fmt.Errorf("%d prices of %d", len(names), messages)
	}
	return ended(names, stream)
}

func clientStreaming(ctx context.Context, prices pricespb.PricesClient) (answer, error) {
	stream, err := prices.Sum(ctx)
	if err != nil {
		return answer{}, err
	}
	for range messages {
		// EOF means that the server has ended the call; the answer says why.
		if err := stream.Send(&pricespb.Line{Item: "tea", Quantity: 1}); err != nil && !errors.Is(err, io.EOF) {
			return answer{}, err
		}
	}
	total, err := stream.CloseAndRecv()
	if err != nil {
		return answer{}, err
	}
	if total.Lines != messages {
		return answer{}, fmt.Errorf("%d lines of %d", total.Lines, messages)
	}
	return ended([]string{total.AnsweredBy}, stream)
}

func bidirectional(ctx context.Context, prices pricespb.PricesClient) (answer, error) {
	stream, err := prices.Chat(ctx)
	if err != nil {
		return answer{}, err
	}
	var names []string
	for i := range messages {
		text := fmt.Sprint("message ", i)
		if err := stream.Send(&pricespb.ChatMessage{Text: text}); err != nil && !errors.Is(err, io.EOF) {
			return answer{}, err
		}
		reply, err := stream.Recv()
		if err != nil {
			return answer{}, err
		}
		if reply.Text != text {
			return answer{}, fmt.Errorf("%q answered by %q", text, reply.Text)
		}
		names = append(names, reply.AnsweredBy)
	}
	if err := stream.CloseSend(); err != nil {
		return answer{}, err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return answer{}, fmt.Errorf("the end was expected, not: %w", err)
	}
	return ended(names, stream)
}

// ended is the answer of a call whose last message was read.
func ended(names []string, stream grpc.ClientStream) (answer, error) {
	header, err := stream.Header()
	return answer{messages: names, header: header, trailer: stream.Trailer()}, err
}
