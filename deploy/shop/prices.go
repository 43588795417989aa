package main

// prices: gRPC over HTTP/2 without TLS, with reflection and health. The name of who
// answers is in every message, in the header and in the trailer.

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"bridge.example/shop/pricespb"
)

const (
	defaultWatch  = 3
	maxWatch      = 100_000
	maxWatchPause = 60_000 // ms
)

func pricesRole([]string) error {
	life, err := untilSignal()
	if err != nil {
		return err
	}
	l, err := listen("prices", "50051")
	if err != nil {
		return err
	}
	return serveGRPC(l, newPrices(myName()), life)
}

func newPrices(name string) *grpc.Server {
	s := &prices{name: name}
	srv := grpc.NewServer(
		// Callers may ping an idle connection as often as they like: it is not ours to judge.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.signUnary),
		grpc.StreamInterceptor(s.signStream),
	)
	pricespb.RegisterPricesServer(srv, s)
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	reflection.Register(srv)
	return srv
}

// serveGRPC serves until the lifetime closes; calls in flight then get GOAWAY and time to
// finish.
func serveGRPC(l net.Listener, srv *grpc.Server, life lifetime) error {
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-life.closing.Done():
	}
	cut := time.AfterFunc(lastWords, srv.Stop)
	defer cut.Stop()
	srv.GracefulStop()
	return nil
}

type prices struct {
	pricespb.UnimplementedPricesServer
	name string
}

func (s *prices) signature() metadata.MD { return metadata.Pairs(answeredByHeader, s.name) }

func (s *prices) signUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := grpc.SetHeader(ctx, s.signature()); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, s.signature()); err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

func (s *prices) signStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := stream.SetHeader(s.signature()); err != nil {
		return err
	}
	stream.SetTrailer(s.signature())
	return handle(srv, stream)
}

func lookUp(item string) (product, error) {
	p, ok := catalogue[item]
	if !ok {
		return product{}, status.Errorf(codes.NotFound, "no such item: %q", item)
	}
	return p, nil
}

func (s *prices) Get(_ context.Context, req *pricespb.GetRequest) (*pricespb.Price, error) {
	p, err := lookUp(req.Item)
	if err != nil {
		return nil, err
	}
	return &pricespb.Price{Item: req.Item, Cents: p.cents, AnsweredBy: s.name, Number: 1}, nil
}

func (s *prices) Watch(req *pricespb.WatchRequest, out grpc.ServerStreamingServer[pricespb.Price]) error {
	p, err := lookUp(req.Item)
	if err != nil {
		return err
	}
	count := req.Count
	if count == 0 {
		count = defaultWatch
	}
	if count > maxWatch || req.IntervalMs > maxWatchPause {
		return status.Errorf(codes.InvalidArgument, "at most %d prices, %d ms apart", maxWatch, maxWatchPause)
	}
	for i := range count {
		if i > 0 && !pause(out.Context(), time.Duration(req.IntervalMs)*time.Millisecond) {
			return status.FromContextError(out.Context().Err()).Err()
		}
		if err := out.Send(&pricespb.Price{Item: req.Item, Cents: p.cents, AnsweredBy: s.name, Number: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

func (s *prices) Sum(in grpc.ClientStreamingServer[pricespb.Line, pricespb.Total]) error {
	total := &pricespb.Total{AnsweredBy: s.name}
	for {
		line, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(total)
		}
		if err != nil {
			return err
		}
		p, err := lookUp(line.Item)
		if err != nil {
			return err
		}
		total.Lines++
		total.Cents += p.cents * line.Quantity
	}
}

func (s *prices) Chat(both grpc.BidiStreamingServer[pricespb.ChatMessage, pricespb.ChatMessage]) error {
	for {
		message, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := both.Send(&pricespb.ChatMessage{Text: message.Text, AnsweredBy: s.name}); err != nil {
			return err
		}
	}
}
