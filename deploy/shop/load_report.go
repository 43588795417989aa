package main

// The counters of a load: memory does not grow with the number of requests.

import (
	"math"
	"sync"
	"time"
)

const (
	keptFailures = 20
	keptNames    = 1000
	// Latencies are counted in buckets that are 1 % wide, from 1 µs to far over an hour.
	bucketRatio = 1.01
	buckets     = 2400
)

// summary is the line that load prints.
type summary struct {
	Mode       string           `json:"mode"`
	Ended      bool             `json:"ended"` // these are the last counters
	Seconds    float64          `json:"seconds"`
	Requests   int64            `json:"requests"`
	Failed     int64            `json:"failed"`
	Failures   []failure        `json:"failures"`  // the first of them
	TroubleS   float64          `json:"trouble_s"` // from the first failure to the begin of the last request that failed
	ByAnswerer map[string]int64 `json:"by_answerer"`
	P50        float64          `json:"p50_ms"` // of what did not fail, as are p99_ms and max_ms
	P99        float64          `json:"p99_ms"`
	Max        float64          `json:"max_ms"`
	FailedMax  float64          `json:"failed_max_ms"` // of what failed
}

type failure struct {
	At     float64 `json:"at_s"` // when the request began, seconds after the load did
	TookMS float64 `json:"took_ms"`
	Reason string  `json:"reason"`
}

type report struct {
	mode     string
	mu       sync.Mutex
	begun    time.Time
	requests int64
	failed   int64
	failures []failure
	troubled time.Time // when the first failure was known
	failing  time.Time // when the last request that failed began
	by       map[string]int64
	latency  [buckets]int64
	longest  time.Duration
	// Of what failed.
	longestFailed time.Duration
}

func newReport(mode string) *report {
	return &report{mode: mode, begun: time.Now(), by: map[string]int64{}, failures: []failure{}}
}

// add counts one request; by is empty where the answer named nobody.
func (r *report) add(started time.Time, took time.Duration, by string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if err != nil {
		if ended := started.Add(took); r.failed == 0 || ended.Before(r.troubled) {
			r.troubled = ended
		}
		if started.After(r.failing) {
			r.failing = started
		}
		r.longestFailed = max(r.longestFailed, took)
		r.failed++
		if len(r.failures) < keptFailures {
			r.failures = append(r.failures, failure{round(started.Sub(r.begun).Seconds()), millis(took), err.Error()})
		}
		return
	}
	if by == "" {
		by = "unknown"
	}
	if _, known := r.by[by]; !known && len(r.by) >= keptNames {
		by = "others"
	}
	r.by[by]++
	r.latency[bucketOf(took)]++
	r.longest = max(r.longest, took)
}

func (r *report) summary() summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	by := make(map[string]int64, len(r.by))
	for name, n := range r.by {
		by[name] = n
	}
	return summary{
		Mode:       r.mode,
		Seconds:    round(time.Since(r.begun).Seconds()),
		Requests:   r.requests,
		Failed:     r.failed,
		Failures:   append([]failure{}, r.failures...),
		TroubleS:   round(max(0, r.failing.Sub(r.troubled).Seconds())),
		ByAnswerer: by,
		P50:        r.quantile(0.50),
		P99:        r.quantile(0.99),
		Max:        millis(r.longest),
		FailedMax:  millis(r.longestFailed),
	}
}

func bucketOf(d time.Duration) int {
	us := max(1, float64(d)/float64(time.Microsecond))
	return min(buckets-1, int(math.Log(us)/math.Log(bucketRatio)))
}

// quantile is the upper edge of the bucket in which the q-th answer lies, in ms.
func (r *report) quantile(q float64) float64 {
	rank := int64(math.Ceil(q * float64(r.requests-r.failed)))
	if rank == 0 {
		return 0
	}
	for i, n := range r.latency {
		if rank -= n; rank <= 0 {
			return min(round(math.Pow(bucketRatio, float64(i+1))/1000), millis(r.longest))
		}
	}
	return millis(r.longest)
}

// Nothing below a microsecond is printed.
func millis(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
