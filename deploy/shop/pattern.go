package main

// Bytes that both ends can compute from a seed, so that bulk transfers can be checked
// without keeping them: the outputs of splitmix64, each as 8 bytes little-endian.

import "encoding/binary"

// pattern is an endless io.Reader.
type pattern struct {
	state uint64
	rest  []byte // of the last word
	word  [8]byte
}

func newPattern(seed uint64) *pattern { return &pattern{state: seed} }

func (p *pattern) next() uint64 {
	p.state += 0x9e3779b97f4a7c15
	z := p.state
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	for len(b)-n >= 8 {
		binary.LittleEndian.PutUint64(b[n:], p.next())
		n += 8
	}
	if n < len(b) {
		binary.LittleEndian.PutUint64(p.word[:], p.next())
		k := copy(b[n:], p.word[:])
		p.rest = p.word[k:]
		n += k
	}
	return n, nil
}
