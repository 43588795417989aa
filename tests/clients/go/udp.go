package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

// echo answers datagrams with this pod's name and what they said.
func echo(at string) error {
	socket, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	text := make([]byte, 64<<10)
	for {
		n, from, err := socket.ReadFrom(text)
		if err != nil {
			return err
		}
		if _, err := socket.WriteTo(fmt.Appendf(nil, "%s %s", os.Getenv("POD_NAME"), text[:n]), from); err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
		}
	}
}

func askConnected(at string) (string, error) {
	socket, err := net.Dial("udp", at)
	if err != nil {
		return "", err
	}
	defer socket.Close()
	if socket.RemoteAddr().(*net.UDPAddr).IP.IsLoopback() {
		return "", fmt.Errorf("the socket says that its peer is %v", socket.RemoteAddr())
	}
	if _, err := socket.Write([]byte("hello")); err != nil {
		return "", err
	}
	text := make([]byte, 512)
	_ = socket.SetReadDeadline(time.Now().Add(patience()))
	n, err := socket.Read(text)
	return string(text[:n]), err
}

// askUnconnected insists on an answer from where the question went.
func askUnconnected(at string) (string, error) {
	to, err := net.ResolveUDPAddr("udp", at)
	if err != nil {
		return "", err
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return "", err
	}
	defer socket.Close()
	if _, err := socket.WriteToUDP([]byte("hello"), to); err != nil {
		return "", err
	}
	text := make([]byte, 512)
	_ = socket.SetReadDeadline(time.Now().Add(patience()))
	n, from, err := socket.ReadFromUDP(text)
	if err == nil && (!from.IP.Equal(to.IP) || from.Port != to.Port) {
		return "", fmt.Errorf("answered by %v", from)
	}
	return string(text[:n]), err
}
