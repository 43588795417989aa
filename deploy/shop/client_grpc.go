package main

// client grpc: one call of one of the four kinds; each message and at last the trailer
// on a line of its own, as JSON.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"bridge.example/shop/pricespb"
)

func (c *client) grpc(ctx context.Context) error {
	if len(c.args) < 2 {
		return errors.New(clientUsage)
	}
	conn, err := dialGRPC(c.args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	for name, values := range c.header {
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, name, v)
		}
	}
	call := grpcCall{c: c, prices: pricespb.NewPricesClient(conn), items: c.args[2:]}
	if len(call.items) == 0 {
		call.items = []string{defaultItem}
	}
	kinds := map[string]func(context.Context) error{
		"get": call.get, "watch": call.watch, "sum": call.sum, "chat": call.chat,
	}
	run := kinds[c.args[1]]
	if run == nil {
		return errors.New(clientUsage)
	}
	if err := run(ctx); err != nil {
		return err
	}
	trailer, err := json.Marshal(map[string]metadata.MD{"trailer": call.trailer})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s\n", trailer)
	return nil
}

type grpcCall struct {
	c       *client
	prices  pricespb.PricesClient
	items   []string // or, for chat, texts
	trailer metadata.MD
}

func (g *grpcCall) print(message proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return err
	}
	// protojson varies its spacing on purpose, and writes int64 as strings.
	var plain map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		return err
	}
	return json.NewEncoder(g.c.out).Encode(plain)
}

func (g *grpcCall) get(ctx context.Context) error {
	price, err := g.prices.Get(ctx, &pricespb.GetRequest{Item: g.items[0]}, grpc.Trailer(&g.trailer))
	if err != nil {
		return err
	}
	return g.print(price)
}

func (g *grpcCall) watch(ctx context.Context) error {
	stream, err := g.prices.Watch(ctx, &pricespb.WatchRequest{
		Item: g.items[0], Count: uint32(g.c.count), IntervalMs: uint32(g.c.intervalMs),
	})
	if err != nil {
		return err
	}
	for {
		price, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			g.trailer = stream.Trailer()
			return nil
		}
		if err != nil {
			return err
		}
		if err := g.print(price); err != nil {
			return err
		}
	}
}

func (g *grpcCall) sum(ctx context.Context) error {
	stream, err := g.prices.Sum(ctx)
	if err != nil {
		return err
	}
	for _, item := range g.items {
		// EOF means that the server has ended the call: the next line asks why.
		if err := stream.Send(&pricespb.Line{Item: item, Quantity: 1}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	total, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	g.trailer = stream.Trailer()
	return g.print(total)
}

func (g *grpcCall) chat(ctx context.Context) error {
	stream, err := g.prices.Chat(ctx)
	if err != nil {
		return err
	}
	for _, text := range g.items {
		if err := stream.Send(&pricespb.ChatMessage{Text: text}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		reply, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := g.print(reply); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	switch extra, err := stream.Recv(); {
	case err == nil:
		return fmt.Errorf("a reply to nothing: %v", extra)
	case !errors.Is(err, io.EOF):
		return err
	}
	g.trailer = stream.Trailer()
	return nil
}
