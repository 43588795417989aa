// Command orders is `orders` of the sample application, as a developer changes it.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
)

func answer(w http.ResponseWriter, r *http.Request) {
	greeting, path := os.Getenv("GREETING"), r.URL.Path
	found := map[string]string{"service": "orders", "by": "laptop", "path": path, "greeting": greeting}
	_ = json.NewEncoder(w).Encode(found)
}

func main() {
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		panic(err)
	}
	fmt.Println("listens on", listener.Addr())
	panic(http.Serve(listener, http.HandlerFunc(answer)))
}
