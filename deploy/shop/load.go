package main

// load: a load generator that forgives nothing. It never sends a request again and
// hides no broken connection, so that what it counts as failed is what a caller would
// have seen. Callers of each protocol are in load_callers.go, the counting in
// load_report.go.

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"
)

const loadUsage = `usage: shop load --url URL [FLAGS] [--and --url URL [FLAGS]]…

  --url URL          http://HOST[:PORT]/PATH; tcp://HOST:PORT for stock; grpc://HOST:PORT for prices
  --mode MODE        new            a new connection for each HTTP request, Connection: close
                     keepalive      one kept HTTP connection for each worker (default)
                     ws             one WebSocket for each worker; a request is one echo
                     tcp            a new connection to stock for each COUNT
                     tcp-keepalive  one kept connection to stock for each worker
                     grpc           one HTTP/2 connection for each worker; a request is one Get
  --workers N        requests at a time (1)
  --rate R           requests per second, all workers together; 0 is as fast as they come (0)
  --duration D       how long; 0 is until SIGTERM or SIGINT, an hour at most (0)
  --header N=V       a request header, of a WebSocket's upgrade too; repeatable
  --expect REGEX     an answer that does not match counts as failed
  --timeout D        for one request (5s)
  --progress D       the counters so far on stderr, every D; SIGUSR1 asks for them too
  --stay             do not end after the report, until SIGKILL: the last words of a
                     container that ends may be missing where its log is followed
  --and              what follows are other callers, beside these

At the end one line of JSON on stdout, for each of the callers: mode, requests, failed,
failures (the first 20), trouble_s (from the first failure to the last), by_answerer,
p50_ms, p99_ms, max_ms, failed_max_ms. The exit code is 0 whether requests failed or not.
`

const (
	// A process started by kubectl exec outlives a broken exec, so it must end on its own.
	longestLoad = time.Hour
	// After a failure a worker waits this long: a refused connection takes no time, and
	// a million of them say no more than a hundred.
	afterFailure = 10 * time.Millisecond
)

// loadPlan is the command line.
type loadPlan struct {
	url      string
	mode     string
	workers  int
	rate     float64
	duration time.Duration
	header   headerFlag
	expect   *regexp.Regexp // nil: anything
	timeout  time.Duration
	progress time.Duration
	stay     bool
}

func loadRole(args []string) error {
	plans, err := parseLoads(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(loadUsage)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, loadUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := runLoads(ctx, plans, os.Stdout, os.Stderr); err != nil {
		return err
	}
	if slices.ContainsFunc(plans, func(plan *loadPlan) bool { return plan.stay }) {
		time.Sleep(longestLoad)
	}
	return nil
}

// runLoads runs them beside each other. One that cannot begin ends them all.
func runLoads(ctx context.Context, plans []*loadPlan, out, progress io.Writer) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	out, progress = &oneByOne{to: out}, &oneByOne{to: progress}
	errs := make([]error, len(plans))
	var loads sync.WaitGroup
	for i, plan := range plans {
		loads.Go(func() {
			if errs[i] = runCounted(ctx, plan, out, progress); errs[i] != nil {
				end()
			}
		})
	}
	loads.Wait()
	return errors.Join(errs...)
}

func runCounted(ctx context.Context, plan *loadPlan, out, progress io.Writer) error {
	counts := newReport(plan.mode)
	ended := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() { tellProgress(counts, plan.progress, ended, progress) })
	err := runLoad(ctx, plan, counts)
	close(ended)
	reporting.Wait()
	if err != nil {
		return err
	}
	last := counts.summary()
	last.Ended = true
	return json.NewEncoder(out).Encode(last)
}

// oneByOne keeps lines of several writers whole.
type oneByOne struct {
	mu sync.Mutex
	to io.Writer
}

func (o *oneByOne) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(line)
}

// parseLoads is parseLoad for each part of what --and separates.
func parseLoads(args []string) ([]*loadPlan, error) {
	var plans []*loadPlan
	for begin := 0; begin <= len(args); {
		part := args[begin:]
		if end := slices.Index(part, "--and"); end >= 0 {
			part = part[:end]
		}
		plan, err := parseLoad(part)
		if err != nil {
			return nil, err
		}
		plans = append(plans, plan)
		begin += len(part) + 1
	}
	return plans, nil
}

func parseLoad(args []string) (*loadPlan, error) {
	plan := &loadPlan{header: headerFlag{}}
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&plan.url, "url", "", "")
	flags.StringVar(&plan.mode, "mode", "keepalive", "")
	flags.IntVar(&plan.workers, "workers", 1, "")
	flags.Float64Var(&plan.rate, "rate", 0, "")
	flags.DurationVar(&plan.duration, "duration", 0, "")
	flags.Var(plan.header, "header", "")
	flags.Func("expect", "", func(text string) (err error) {
		plan.expect, err = regexp.Compile(text)
		return err
	})
	flags.DurationVar(&plan.timeout, "timeout", 5*time.Second, "")
	flags.DurationVar(&plan.progress, "progress", 0, "")
	flags.BoolVar(&plan.stay, "stay", false, "")
	if _, err := parseArgs(flags, args, 0, 0); err != nil {
		return nil, err
	}
	if plan.url == "" || plan.workers < 1 || plan.workers > 10_000 || plan.rate < 0 || plan.timeout <= 0 {
		return nil, errors.New("needs --url, 1 to 10,000 workers, a rate that is not negative, a timeout")
	}
	if plan.duration <= 0 || plan.duration > longestLoad {
		plan.duration = longestLoad
	}
	return plan, nil
}

// runLoad returns when the duration is over or ctx has ended, and every request that was
// begun by then has been counted.
func runLoad(ctx context.Context, plan *loadPlan, counts *report) error {
	newCaller, err := callersFor(plan)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, plan.duration)
	defer cancel()
	pace := newPacer(plan.rate)
	var workers sync.WaitGroup
	for range plan.workers {
		workers.Go(func() {
			caller := newCaller()
			defer caller.close()
			for pace.wait(ctx) {
				started := time.Now()
				got, err := caller.call()
				if err == nil && plan.expect != nil && !plan.expect.Match(got.body) {
					err = fmt.Errorf("does not match %s: %.200q", plan.expect, got.body)
				}
				counts.add(started, time.Since(started), got.by, err)
				if err != nil {
					pause(ctx, afterFailure)
				}
			}
		})
	}
	workers.Wait()
	return nil
}

// pacer spreads the starts of requests evenly.
type pacer struct {
	mu       sync.Mutex
	interval time.Duration // 0: no pace
	next     time.Time
}

func newPacer(rate float64) *pacer {
	p := &pacer{next: time.Now()}
	if rate > 0 {
		p.interval = time.Duration(float64(time.Second) / rate)
	}
	return p
}

// wait returns when the next request may start; false when there is to be none. Up to
// 100 ms that all workers were busy are made up for, not more: a stall must not be
// followed by a burst.
func (p *pacer) wait(ctx context.Context) bool {
	if p.interval == 0 {
		return ctx.Err() == nil
	}
	p.mu.Lock()
	if late := time.Now().Add(-100 * time.Millisecond); p.next.Before(late) {
		p.next = late
	}
	mine := p.next
	p.next = mine.Add(p.interval)
	p.mu.Unlock()
	return pause(ctx, time.Until(mine))
}

// tellProgress writes the counters at SIGUSR1, and every so often if every is not 0.
func tellProgress(counts *report, every time.Duration, ended <-chan struct{}, out io.Writer) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)
	var tick <-chan time.Time
	if every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		tick = ticker.C
	}
	enc := json.NewEncoder(out)
	for {
		select {
		case <-ended:
			return
		case <-tick:
		case <-asked:
		}
		_ = enc.Encode(counts.summary())
	}
}
