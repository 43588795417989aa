package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"bridge.example/shop/pricespb"
)

// askHTTP makes a connection of its own.
func askHTTP(at string) (string, error) {
	client := http.Client{Timeout: patience(), Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + at + "/whoami")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// askGRPC resolves the name as grpc-go does by default.
func askGRPC(at string) (string, error) {
	conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	price, err := pricespb.NewPricesClient(conn).Get(ctx, &pricespb.GetRequest{Item: "tea"})
	return price.GetAnsweredBy(), err
}

// many makes so many connections, so many at a time, and prints what came of them.
func many(count, atATime, at string) error {
	left, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	workers, err := strconv.Atoi(atATime)
	if err != nil {
		return err
	}
	turns := make(chan struct{}, left)
	for range left {
		turns <- struct{}{}
	}
	close(turns)

	var all sync.WaitGroup
	var lock sync.Mutex
	answers, begun := map[string]int{}, time.Now()
	for range workers {
		all.Go(func() {
			for range turns {
				answer, err := askHTTP(at)
				if err != nil {
					answer = "error: " + err.Error()
				}
				lock.Lock()
				answers[answer]++
				lock.Unlock()
			}
		})
	}
	all.Wait()
	fmt.Printf("seconds %.1f\n", time.Since(begun).Seconds())
	for answer, times := range answers {
		fmt.Println(times, strings.TrimSpace(answer))
	}
	return nil
}
